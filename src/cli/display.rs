//! What followers tell, before people and programs: bars on a terminal, else plain lines, or JSON.

mod bars;
mod json;
mod lines;
pub mod words;

use std::io::{self, Write};

use self::words::clean;
pub use self::{bars::Bars, json::Json, lines::Lines};
use super::client::follow::news::{Line, News, Removed, Told};

/// How the jobs of each follower are called before people: with what stands before their names, or not at all.
#[derive(Clone, Debug)]
pub enum Labels {
    /// There is only one job.
    None,
    /// By their names, after this for each follower.
    Named(Vec<String>),
}

impl Labels {
    /// That of a job.
    fn of(&self, source: usize, job_id: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Named(prefixes) => {
                let prefix = prefixes.get(source).map_or("", String::as_str);
                Some(clean(&format!("{prefix}{job_id}")).into_owned())
            }
        }
    }
}

/// Where and how it is shown.
pub enum Display<'o> {
    /// On a terminal.
    Bars(Box<Bars>),
    /// A line for each change.
    Lines(Lines<'o>),
    /// As it was on the wire.
    Json(Json<'o>),
}

impl<'o> Display<'o> {
    /// For people: bars where there is a terminal that can draw them.
    pub fn new(output: &'o mut dyn Write, labels: Labels, with_events: bool) -> Self {
        match Bars::on_terminal(labels.clone(), with_events) {
            Some(bars) => Self::Bars(Box::new(bars)),
            None => Self::Lines(Lines::new(output, labels, with_events)),
        }
    }

    /// For programs.
    pub fn json(output: &'o mut dyn Write, with_events: bool) -> Self {
        Self::Json(Json::new(output, with_events))
    }

    /// Shows what was told.
    ///
    /// # Errors
    /// Nobody reads it, or it cannot be written.
    pub fn show(&mut self, told: &[Told]) -> io::Result<()> {
        match self {
            Self::Bars(bars) => return bars.show(told),
            Self::Lines(lines) => lines.show(told)?,
            Self::Json(json) => json.show(told)?,
        }
        for told in told {
            // Nothing else would show it there.
            if let News::Line(Line::Reconnecting(Some(reason))) = &told.news {
                complain("note", &format!("trying again: {reason}"));
            }
        }
        Ok(())
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        if let Self::Bars(bars) = self {
            bars.tick();
        }
    }

    /// Something that is wrong, on standard error.
    pub fn error(&self, text: &str) {
        match self {
            Self::Bars(bars) => bars.aside(|| complain("error", text)),
            _ => complain("error", text),
        }
    }

    /// Nothing follows: the last of it stays.
    pub fn finish(&mut self) {
        if let Self::Bars(bars) = self {
            bars.finish();
        }
    }
}

/// Writes a line to standard error, without what could lead a terminal astray.
pub fn complain(sort: &str, text: &str) {
    // Nobody is left to be told when that is closed too.
    let _ = writeln!(io::stderr(), "{sort}: {}", clean(text));
}

/// Why a job is not shown any more.
pub fn why(removed: &Removed) -> &str {
    removed
        .code
        .as_deref()
        .unwrap_or("it is gone, or does not match any more")
}
