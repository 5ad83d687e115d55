//! A plain line for each change, for files, pipes and `grep`.

use std::io::{self, Write};

use super::{Labels, why, words};
use crate::cli::client::follow::news::{Face, News, Told};

/// Lines of fields, with two spaces between them.
pub struct Lines<'o> {
    output: &'o mut dyn Write,
    labels: Labels,
    with_events: bool,
}

impl<'o> Lines<'o> {
    pub(super) fn new(output: &'o mut dyn Write, labels: Labels, with_events: bool) -> Self {
        Self {
            output,
            labels,
            with_events,
        }
    }

    pub(super) fn show(&mut self, told: &[Told]) -> io::Result<()> {
        for Told { source, news } in told {
            let (job_id, line) = match news {
                News::Status(status) => (&status.face.job_id, status_line(&status.face)),
                News::Event(event) if self.with_events => (
                    &event.job_id,
                    format!("event       {}", words::event(event)),
                ),
                News::Removed(removed) => {
                    let why = words::clean(why(removed));
                    (&removed.job_id, format!("removed     {why}"))
                }
                News::Event(_) | News::Line(_) | News::Ended(_) => continue,
            };
            match self.labels.of(*source, job_id) {
                Some(label) => writeln!(self.output, "{label}  {line}")?,
                None => writeln!(self.output, "{line}")?,
            }
        }
        self.output.flush()
    }
}

/// `processing   75.00 %  750/1000 emails  41.7/s  6 s left  Checking mail servers: gmail.com`
fn status_line(face: &Face) -> String {
    let percent = match face.progress_percentage {
        Some(percent) => format!("{percent:>6.2} %"),
        None => "     - %".to_owned(),
    };
    let state = words::clean(&face.status);
    let mut fields = vec![format!("{state:<10}"), percent];
    fields.extend(words::counts(face));
    fields.extend(words::rate(face));
    fields.extend(words::remaining(face, 0));
    fields.extend(words::flags(face));
    fields.extend(words::doing(face));
    fields.join("  ")
}
