//! The runner of the kind `demo`: pretends to work, for trying pages and clients.

use std::{num::NonZeroUsize, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{JobContext, JobError, Runner};
use crate::{
    job::{Count, EventName, FieldError, Json, NewEvent, Patch, Report, parse_json},
    store::{Input, InputFormat},
};

/// Bounds on what a script may ask for.
const MOST_ITEMS: u64 = 1_000_000;
const MOST_SECONDS: u64 = 3_600;
const MOST_STEPS: usize = 20;
const STEP_CHARS: usize = 200;

/// Reports per second; a page sees one, unless its server's pace is set faster.
const TICKS_PER_SECOND: u64 = 10;

/// Reports of the shortest job.
const FEWEST_TICKS: u64 = 20;

/// Events of a whole job.
const EVENTS: u64 = 10;

/// Demos at a time. One costs a timer and a commit per tick, so this is about what keeps a small
/// store busy.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(100).expect("100 is not zero");

/// Simulates a job with several steps; ends as its input says, and starts over when it was cut off.
///
/// The input is a JSON object, for example
/// `{"items": 500, "seconds": 60, "steps": ["Load", "Compute"], "fail_at": 400, "events": false}`.
/// Every field may be left out. The job fails with `DEMO_FAILED` at the item `fail_at`; unless
/// `events` is false it sends ten events named `partial_result`, `{"items": 50, "step": "Load"}`
/// say.
#[derive(Debug, Clone, Copy)]
pub struct Demo;

/// The input.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    /// 1 to 1,000,000; default 200.
    items: u64,
    /// 0 to 3,600; default 20.
    seconds: u64,
    /// 1 to 20 names, each of as many items; default three.
    steps: Vec<String>,
    /// 1 to `items`.
    fail_at: Option<u64>,
    /// Default true.
    events: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            items: 200,
            seconds: 20,
            steps: ["Reading", "Working", "Writing"].map(str::to_owned).into(),
            fail_at: None,
            events: true,
        }
    }
}

#[async_trait]
impl Runner for Demo {
    fn kind(&self) -> &'static str {
        "demo"
    }

    fn unit(&self) -> Option<&'static str> {
        Some("items")
    }

    fn concurrency(&self) -> NonZeroUsize {
        CONCURRENCY
    }

    async fn run(&self, mut context: JobContext, input: Option<Input>) -> Result<Json, JobError> {
        let script = Script::read(input)
            .map_err(|error| JobError::failed("INVALID_INPUT", error.to_string()))?;
        let items = script.items;
        let start = Instant::now();
        let ticks = (script.seconds * TICKS_PER_SECOND).max(FEWEST_TICKS);
        let ticks = ticks.min(items);
        context.report(script.progress(0)).await?;
        let mut events = 0;
        for tick in 1..=ticks {
            let due = Duration::from_millis(script.seconds * 1_000 * tick / ticks);
            tokio::select! {
                biased;
                () = context.stopped() => return Err(JobError::Stopped),
                () = sleep_until(start + due) => {}
            }
            let done = items * tick / ticks;
            if let Some(fail_at) = script.fail_at.filter(|fail_at| *fail_at <= done) {
                context.report(script.progress(fail_at - 1)).await?;
                let message = format!("Failed at item {fail_at}, as the input asked");
                return Err(JobError::failed("DEMO_FAILED", message));
            }
            context.report(script.progress(done)).await?;
            if script.events && done * EVENTS / items > events {
                events = done * EVENTS / items;
                context.event(script.partial_result(done)).await?;
            }
        }
        let result = serde_json::json!({"items": items, "seconds": script.seconds});
        Ok(Json::of(&result).expect("numbers serialize"))
    }
}

impl Script {
    fn read(input: Option<Input>) -> Result<Self, FieldError> {
        let script = match input {
            None => Self::default(),
            // Without this look an array would do as well: its entries for the fields in order.
            Some(input) if is_object(&input) => parse_json(&input.content)?,
            Some(_) => return Err(FieldError::new("input", "must be a JSON object")),
        };
        script.check()?;
        Ok(script)
    }

    fn check(&self) -> Result<(), FieldError> {
        let fail_at = self.fail_at.unwrap_or(1);
        let is_name = |step: &String| (1..=STEP_CHARS).contains(&step.chars().count());
        let rules = [
            (
                "items",
                (1..=MOST_ITEMS).contains(&self.items),
                format!("must be 1 to {MOST_ITEMS}"),
            ),
            (
                "seconds",
                self.seconds <= MOST_SECONDS,
                format!("must be 0 to {MOST_SECONDS}"),
            ),
            (
                "steps",
                (1..=MOST_STEPS).contains(&self.steps.len()) && self.steps.iter().all(is_name),
                format!("must be 1 to {MOST_STEPS} names of 1 to {STEP_CHARS} characters"),
            ),
            (
                "fail_at",
                (1..=self.items).contains(&fail_at),
                "must be 1 to items".to_owned(),
            ),
        ];
        match rules.into_iter().find(|(_, is_kept, _)| !is_kept) {
            Some((field, _, rule)) => Err(FieldError::new(field, rule)),
            None => Ok(()),
        }
    }

    /// The step at which so many items are done.
    fn step(&self, done: u64) -> &str {
        let steps = self.steps.len() as u64;
        let index = done.saturating_sub(1) * steps / self.items;
        &self.steps[usize::try_from(index).expect("below the number of steps")]
    }

    fn progress(&self, done: u64) -> Report {
        Report {
            processed_count: Some(Count::saturating(done)),
            total_count: Patch::Set(Count::saturating(self.items)),
            step: Patch::Set(self.step(done).to_owned()),
            message: Patch::Set(format!("Item {done} of {}", self.items)),
            ..Report::default()
        }
    }

    fn partial_result(&self, done: u64) -> NewEvent {
        let data = serde_json::json!({"items": done, "step": self.step(done)});
        NewEvent {
            name: EventName::parse("partial_result").expect("a valid name"),
            data: Json::of(&data).expect("JSON serializes"),
        }
    }
}

fn is_object(input: &Input) -> bool {
    input.format == InputFormat::Json && input.content.trim_ascii_start().starts_with(b"{")
}
