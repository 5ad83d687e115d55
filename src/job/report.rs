//! A report: one message from a worker about a job.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    Bounds, Count, FieldError, JobId, Json, Percentage, ReportId, State,
    field::{Object, check_json, check_name, check_text, given, parse_json},
};

/// The code of a failure that the worker gave none for.
const DEFAULT_CODE: &str = "JOB_FAILED";

/// Longest code of a failure, in characters.
const CODE_CHARS: usize = 64;

/// Why a job, or one attempt at it, failed; also the data of the stream's `error` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a report says of a field that can be cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Nothing: the field stays.
    #[default]
    Keep,
    /// Null: the field is unknown from now on.
    Clear,
    /// The field's new value.
    Set(T),
}

/// A checked report; the body of `PATCH /jobs/{id}`, and a line of `/reports`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The state to move to.
    pub status: Option<State>,
    /// Units done in all.
    pub processed_count: Option<Count>,
    /// Units done since this worker's last report, at least 1.
    pub processed_increment: Option<Count>,
    /// Units to do in all.
    pub total_count: Patch<Count>,
    /// How far, by the worker's own reckoning.
    pub progress_percentage: Option<Percentage>,
    /// Name of the phase.
    pub step: Patch<String>,
    /// What is going on.
    pub message: Patch<String>,
    /// Merge patch for the job's `data` (RFC 7396).
    pub data: Option<Map<String, Value>>,
    /// What the work came to.
    pub result: Option<Json>,
    /// Why the job or its last attempt failed.
    pub error: Option<Failure>,
    /// Which try this report is about; absent = the present one.
    pub attempt: Option<u32>,
}

/// A report with what addresses it.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressedReport {
    /// The job reported on, when the body names it.
    pub job_id: Option<JobId>,
    /// The worker's own name for the report.
    pub report_id: Option<ReportId>,
    /// The report itself.
    pub report: Report,
}

impl<T> Patch<T> {
    /// The new value, when there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(deserializer)? {
            None => Self::Clear,
            Some(value) => Self::Set(value),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportBody {
    #[serde(default, deserialize_with = "given")]
    job_id: Option<JobId>,
    #[serde(default, deserialize_with = "given")]
    report_id: Option<ReportId>,
    #[serde(default, deserialize_with = "given")]
    status: Option<State>,
    #[serde(default, deserialize_with = "given")]
    processed_count: Option<Count>,
    #[serde(default, deserialize_with = "given")]
    processed_increment: Option<Count>,
    #[serde(default)]
    total_count: Patch<Count>,
    #[serde(default, deserialize_with = "given")]
    progress_percentage: Option<Percentage>,
    #[serde(default)]
    step: Patch<String>,
    #[serde(default)]
    message: Patch<String>,
    #[serde(default, deserialize_with = "given")]
    data: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "given")]
    result: Option<Json>,
    #[serde(default, deserialize_with = "given")]
    error: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    attempt: Option<Count>,
}

impl Report {
    /// Reads and checks a report with its addresses; an empty body stands for `{}`.
    pub fn parse(body: &[u8], bounds: &Bounds) -> Result<AddressedReport, FieldError> {
        let body = if body.is_empty() { b"{}" } else { body };
        let Object(body) = parse_json::<Object<ReportBody>>(body)?;
        if body.processed_count.is_some() && body.processed_increment.is_some() {
            let rule = "must not stand beside processed_count";
            return Err(FieldError::new("processed_increment", rule));
        }
        if body
            .processed_increment
            .is_some_and(|increment| increment.get() == 0)
        {
            return Err(FieldError::new(
                "processed_increment",
                "must be an integer of at least 1",
            ));
        }
        if let Some(step) = body.step.value() {
            check_text("step", step, bounds.step_chars)?;
        }
        if let Some(message) = body.message.value() {
            check_text("message", message, bounds.message_chars)?;
        }
        let attempt = body.attempt.map(read_attempt).transpose()?;
        if let Some(result) = &body.result {
            if result.as_str() == "null" {
                return Err(FieldError::new("result", "must not be null"));
            }
            check_json("result", result.as_str().len(), bounds.result_bytes)?;
        }
        let error = body
            .error
            .map(|error| Failure::parse(error, bounds))
            .transpose()?;
        Ok(AddressedReport {
            job_id: body.job_id,
            report_id: body.report_id,
            report: Self {
                status: body.status,
                processed_count: body.processed_count,
                processed_increment: body.processed_increment,
                total_count: body.total_count,
                progress_percentage: body.progress_percentage,
                step: body.step,
                message: body.message,
                data: body.data,
                result: body.result,
                error,
                attempt,
            },
        })
    }
}

fn read_attempt(number: Count) -> Result<u32, FieldError> {
    let attempt = u32::try_from(number.get())
        .ok()
        .filter(|attempt| *attempt > 0);
    let rule = "must be an integer from 1 to 4294967295";
    attempt.ok_or_else(|| FieldError::new("attempt", rule))
}

impl Failure {
    /// A failure with a code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The failure of a job whose worker gave no reason.
    pub fn unexplained() -> Self {
        Self::new(DEFAULT_CODE, "Job failed")
    }

    /// Reads `{"code", "message"}`, either of which may be left out, or a string: the message.
    fn parse(value: Value, bounds: &Bounds) -> Result<Self, FieldError> {
        let mut failure = Self::unexplained();
        match value {
            Value::String(message) => failure.message = message,
            Value::Object(fields) => {
                for (name, value) in fields {
                    let field = format!("error.{name}");
                    let target = match name.as_str() {
                        "code" => &mut failure.code,
                        "message" => &mut failure.message,
                        _ => {
                            return Err(FieldError::new(
                                field,
                                "unknown field, expected code or message",
                            ));
                        }
                    };
                    let Value::String(text) = value else {
                        return Err(FieldError::new(field, "must be a string"));
                    };
                    *target = text;
                }
            }
            _ => {
                let rule = "must be an object with code and message, or a string";
                return Err(FieldError::new("error", rule));
            }
        }
        check_name("error.code", &failure.code, CODE_CHARS)?;
        check_text("error.message", &failure.message, bounds.message_chars)?;
        Ok(failure)
    }
}
