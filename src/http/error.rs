//! Every error that a client can see: a closed set of codes, one body.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use strum::VariantArray;

use crate::{
    auth::AuthError,
    job::{FieldError, Refusal},
    registry::RegistryError,
    store::StoreError,
};

/// Longest message, in characters. Messages quote what was sent, a field's name say, and a request
/// of a megabyte must not be answered with a megabyte.
const MOST_MESSAGE_CHARS: usize = 500;

/// Longest cause in the log, in characters: some quote what was sent, and nobody may fill a disk with it.
const MOST_CAUSE_CHARS: usize = 200;

/// How soon to come back when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The stable words that programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray)]
pub enum ErrorCode {
    /// The request breaks a rule; the message says which.
    InvalidRequest,
    /// No credential, or one that does not hold.
    Unauthorized,
    /// A scope is missing, or it is somebody else's job.
    Forbidden,
    /// No job of that name.
    JobNotFound,
    /// No such path.
    RouteNotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// There was a job of that name.
    JobGone,
    /// A different job of that name exists.
    JobExists,
    /// The job has ended; terminal is final.
    JobFinished,
    /// The report is about an attempt that was replaced.
    StaleAttempt,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is of a kind that the call does not take.
    UnsupportedMediaType,
    /// Too much at once.
    RateLimited,
    /// All the streams that the server, the client or the job may have are open.
    TooManyStreams,
    /// The store does not answer.
    StoreUnavailable,
    /// The server is shutting down.
    Draining,
    /// The token ended while it was in use. Only inside a body; a request with such a token is unauthorized.
    TokenExpired,
    /// A fault of the server.
    Internal,
}

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// Told by its status alone.
    is_plain: bool,
    /// For the log alone.
    cause: Option<String>,
}

/// The body of every error.
#[derive(Serialize)]
struct Envelope<'a> {
    success: bool,
    error: EnvelopeError<'a>,
}

#[derive(Serialize)]
struct EnvelopeError<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl ErrorCode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::JobNotFound => "JOB_NOT_FOUND",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::JobGone => "JOB_GONE",
            Self::JobExists => "JOB_EXISTS",
            Self::JobFinished => "JOB_FINISHED",
            Self::StaleAttempt => "STALE_ATTEMPT",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::RateLimited => "RATE_LIMITED",
            Self::TooManyStreams => "TOO_MANY_STREAMS",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::Draining => "DRAINING",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The status that it comes with.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::TokenExpired => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::JobNotFound | Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::JobGone => StatusCode::GONE,
            Self::JobExists | Self::JobFinished | Self::StaleAttempt => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreUnavailable | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A sentence for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::InvalidRequest => "Invalid request",
            Self::Unauthorized => "Invalid API key",
            Self::Forbidden => "Not allowed",
            Self::JobNotFound => "Job not found",
            Self::RouteNotFound => "Route not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::JobGone => "Job gone",
            Self::JobExists => "A different job of that name exists",
            Self::JobFinished => "The job has ended",
            Self::StaleAttempt => "A later attempt has replaced this one",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::RateLimited => "Too many requests",
            Self::TooManyStreams => "Too many streams",
            Self::StoreUnavailable => "The store does not answer",
            Self::Draining => "Server is shutting down",
            Self::TokenExpired => "Token expired",
            Self::Internal => "Internal server error",
        }
    }

    /// Whether a client that comes back later may be served: what an `EventSource` gets as a stream.
    fn is_passing(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::TooManyStreams
                | Self::StoreUnavailable
                | Self::Draining
                | Self::Internal
        )
    }
}

impl From<ErrorCode> for &'static str {
    fn from(code: ErrorCode) -> Self {
        code.as_str()
    }
}

impl ApiError {
    /// An error with its code's own message.
    pub fn new(code: ErrorCode) -> Self {
        let retry_after = code.is_passing().then_some(RETRY_AFTER);
        Self {
            code,
            message: code.message().into(),
            retry_after: retry_after.filter(|_| code != ErrorCode::Internal),
            is_plain: false,
            cause: None,
        }
    }

    /// A request that breaks a rule.
    pub fn invalid(field: &str, rule: impl Into<String>) -> Self {
        FieldError::new(field, rule).into()
    }

    /// The same with a message that says more; one that is far too long is cut.
    #[must_use]
    pub fn because(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = shortened(message.into(), MOST_MESSAGE_CHARS);
        self
    }

    /// The same with word of when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same for somebody unknown: told by its status, even to an `EventSource`.
    #[must_use]
    pub(super) fn plainly(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same with a cause for the log, which is cut as well.
    #[must_use]
    fn caused_by(mut self, cause: &dyn std::error::Error) -> Self {
        let cause = shortened(cause.to_string().into(), MOST_CAUSE_CHARS);
        self.cause = Some(cause.into_owned());
        self
    }

    /// What the log is told, and the client is not.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Whether an `EventSource` is told inside a stream, so that it comes back.
    pub(super) fn is_passing(&self) -> bool {
        self.code.is_passing() && !self.is_plain
    }

    /// The body, with the request's id.
    pub(super) fn body(&self, request_id: Option<&str>) -> Vec<u8> {
        let error = EnvelopeError {
            code: self.code.as_str(),
            message: &self.message,
            request_id,
        };
        let envelope = Envelope {
            success: false,
            error,
        };
        serde_json::to_vec(&envelope).expect("an envelope consists of strings")
    }
}

impl IntoResponse for ApiError {
    /// The head; the body follows in the envelope, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let headers = response.headers_mut();
        if self.code == ErrorCode::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(after));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::new(ErrorCode::InvalidRequest).because(error.to_string())
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let refusal = Self::new(ErrorCode::Unauthorized).because(error.to_string());
        match std::error::Error::source(&error) {
            Some(cause) => refusal.caused_by(cause),
            None => refusal,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorCode::StoreUnavailable).caused_by(&error)
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::NotFound => Self::new(ErrorCode::JobNotFound),
            RegistryError::Gone => Self::new(ErrorCode::JobGone),
            RegistryError::Exists => Self::new(ErrorCode::JobExists),
            RegistryError::Full => Self::new(ErrorCode::RateLimited).because("Too many jobs"),
            RegistryError::NoRoom => {
                Self::new(ErrorCode::RateLimited).because("No room for another job at present")
            }
            error @ RegistryError::Interrupted => Self::new(ErrorCode::Internal).caused_by(&error),
            RegistryError::Store(error) => error.into(),
            RegistryError::Refused(Refusal::Invalid(error)) => error.into(),
            RegistryError::Refused(refusal @ Refusal::Finished(_)) => {
                Self::new(ErrorCode::JobFinished).because(sentence(&refusal))
            }
            RegistryError::Refused(refusal @ Refusal::StaleAttempt { .. }) => {
                Self::new(ErrorCode::StaleAttempt).because(sentence(&refusal))
            }
        }
    }
}

/// A span as `Retry-After` names it: in whole seconds, rounded up, at least one.
pub(super) fn whole_seconds(span: Duration) -> HeaderValue {
    HeaderValue::from(span.as_secs_f64().ceil().max(1.0) as u64)
}

fn shortened(message: Cow<'static, str>, most_chars: usize) -> Cow<'static, str> {
    if message.char_indices().nth(most_chars).is_none() {
        return message;
    }
    let kept = message.chars().take(most_chars - 1);
    kept.chain(['…']).collect::<String>().into()
}

/// A cause as a sentence for people: our own errors are lower-case phrases.
fn sentence(error: &Refusal) -> String {
    let phrase = error.to_string();
    let mut letters = phrase.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => phrase,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_cut_before_it_fills_the_log() {
        let cause_of = |claim: String| {
            let error = AuthError::InvalidToken(crate::auth::TokenRefusal::ClaimType(claim));
            let cause = ApiError::from(error).cause().map(str::to_owned);
            cause.expect("a cause")
        };
        assert_eq!(
            cause_of("sub".to_owned()),
            "the claim `sub` has a wrong type"
        );
        let cause = cause_of("ä".repeat(10_000));
        assert_eq!(cause.chars().count(), MOST_CAUSE_CHARS);
        assert!(cause.ends_with('…'), "{cause}");
    }
}
