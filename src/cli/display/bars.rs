//! A bar for each job, on a terminal.
//!
//! There are as many rows as fit; jobs move between them as they begin and end. What is said in a row is cut to the
//! terminal's width here, since indicatif would let a longer one go on in the next row.

use std::{
    collections::HashMap,
    io::{self, Write as _, stdout},
    time::{Duration, Instant},
};

use console::{Style, Term, measure_text_width, pad_str, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Labels, complain, why, words};
use crate::cli::client::follow::news::{Face, Line, News, Told};

/// A bar's length: a hundredth of a per cent is the least that there is.
const LENGTH: u64 = 10_000;

/// The widest name that is shown whole.
const WIDEST_LABEL: usize = 36;

/// When a drawing is not left out any more: indicatif draws 20 times a second at most, here twice as long after it.
const DRAWN_AFTER: Duration = Duration::from_millis(100);

/// How jobs fare, before people who look at a terminal.
pub struct Bars {
    multi: MultiProgress,
    term: Term,
    labels: Labels,
    with_events: bool,
    /// In the order in which they came.
    jobs: Vec<Job>,
    places: HashMap<(usize, String), usize>,
    lines: HashMap<usize, Line>,
    rows: Vec<Row>,
    /// The last change, unless it is known to be on the screen: indicatif leaves out a drawing that comes too soon
    /// after the one before.
    changed_at: Option<Instant>,
}

/// A job.
struct Job {
    label: Option<String>,
    face: Face,
    since: Instant,
}

/// A row of the terminal, and what stands in it.
struct Row {
    bar: ProgressBar,
    content: Option<Content>,
}

/// What is drawn before the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Bar { color: &'static str, width: usize },
    Spinner,
    Words,
}

/// What a row is to show.
#[derive(PartialEq, Eq)]
struct Content {
    look: Look,
    position: u64,
    label: String,
    words: String,
}

impl Bars {
    /// On standard output; none when that is no terminal that can be drawn on.
    pub(super) fn on_terminal(labels: Labels, with_events: bool) -> Option<Self> {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        (!multi.is_hidden()).then(|| Self {
            multi,
            term: Term::stdout(),
            labels,
            with_events,
            jobs: Vec::new(),
            places: HashMap::new(),
            lines: HashMap::new(),
            rows: Vec::new(),
            changed_at: None,
        })
    }

    /// Ends the drawing from anywhere, with the cursor below what was drawn.
    pub fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let multi = self.multi.clone();
        move || {
            multi.set_draw_target(ProgressDrawTarget::hidden());
            let _ = stdout().write_all(b"\n").and_then(|()| stdout().flush());
        }
    }

    pub(super) fn show(&mut self, told: &[Told]) -> io::Result<()> {
        let mut above = Vec::new();
        for Told { source, news } in told {
            match news {
                News::Status(status) => self.take(*source, &status.face),
                News::Event(event) if self.with_events => {
                    let text = words::event(event);
                    let is_error = event.name == "error";
                    above.push((self.labels.of(*source, &event.job_id), text, is_error));
                }
                News::Removed(removed) => {
                    let text = format!("removed: {}", words::clean(why(removed)));
                    above.push((self.labels.of(*source, &removed.job_id), text, false));
                    self.remove(*source, &removed.job_id);
                }
                News::Line(line) => {
                    self.lines.insert(*source, line.clone());
                }
                News::Ended(_) => {
                    self.lines.remove(source);
                }
                News::Event(_) => {}
            }
        }
        if !above.is_empty() {
            let width = self.width();
            let lines = above.into_iter().map(|(label, text, is_error)| {
                let text = match label {
                    Some(label) => format!("{label}  {text}"),
                    None => text,
                };
                let text = truncate_str(&text, width, "…").into_owned();
                match is_error {
                    true => Style::new().red().apply_to(text).to_string(),
                    false => Style::new().dim().apply_to(text).to_string(),
                }
            });
            let lines: Vec<_> = lines.collect();
            self.multi.println(lines.join("\n"))?;
        }
        self.tick();
        Ok(())
    }

    /// Draws what is to be seen now.
    pub(super) fn tick(&mut self) {
        let (height, width) = self.term.size();
        // The last row is the cursor's own, and one is for what concerns all.
        let most = usize::from(height).saturating_sub(2).max(1);
        let shown = self.shown(most);
        let label_width = self.label_width(usize::from(width));
        let contents = shown
            .iter()
            .map(|place| self.jobs[*place].content(label_width, self.width()));
        let mut contents: Vec<_> = contents.collect();
        contents.extend(self.footer(shown.len()).map(|footer| Content {
            look: Look::Words,
            position: 0,
            label: String::new(),
            words: truncate_str(&footer, self.width(), "…").into_owned(),
        }));
        let mut is_changed = self.rows.len() > contents.len();
        while self.rows.len() > contents.len() {
            if let Some(row) = self.rows.pop() {
                self.multi.remove(&row.bar);
            }
        }
        for (place, content) in contents.into_iter().enumerate() {
            if place == self.rows.len() {
                self.rows.push(Row {
                    bar: self.multi.add(ProgressBar::new(LENGTH)),
                    content: None,
                });
            }
            is_changed |= self.rows[place].set(content);
        }
        if is_changed {
            self.changed_at = Some(Instant::now());
        } else if let (Some(changed_at), Some(row)) = (self.changed_at, self.rows.last()) {
            row.bar.tick();
            // By then no drawing was so soon before this one that it was left out.
            self.changed_at = (changed_at.elapsed() < DRAWN_AFTER).then_some(changed_at);
        }
    }

    /// Does something beside the drawing.
    pub(super) fn aside(&self, work: impl FnOnce()) {
        self.multi.suspend(work);
    }

    /// Draws for the last time, and leaves the cursor below.
    pub(super) fn finish(&mut self) {
        self.tick();
        for row in &self.rows {
            row.bar.abandon();
        }
        if !self.rows.is_empty() {
            self.rows.clear();
            if let Err(error) = self.term.write_line("") {
                complain("error", &format!("write to the terminal: {error}"));
            }
        }
    }

    fn take(&mut self, source: usize, face: &Face) {
        let key = (source, face.job_id.clone());
        let (face, since) = (face.clone(), Instant::now());
        match self.places.get(&key) {
            Some(place) => {
                let job = &mut self.jobs[*place];
                (job.face, job.since) = (face, since);
            }
            None => {
                let label = self.labels.of(source, &face.job_id);
                self.places.insert(key, self.jobs.len());
                self.jobs.push(Job { label, face, since });
            }
        }
    }

    fn remove(&mut self, source: usize, job_id: &str) {
        if let Some(place) = self.places.remove(&(source, job_id.to_owned())) {
            self.jobs.remove(place);
            for later in self.places.values_mut().filter(|later| **later > place) {
                *later -= 1;
            }
        }
    }

    /// The places of the jobs that have a row, in their order: those at work before those that are over, and what
    /// went wrong before what went well.
    fn shown(&self, most: usize) -> Vec<usize> {
        let mut places: Vec<_> = (0..self.jobs.len()).collect();
        if places.len() > most {
            places.sort_by_key(|place| match &*self.jobs[*place].face.status {
                "processing" => 0,
                "failed" => 1,
                "completed" => 4,
                "cancelled" => 3,
                _ => 2,
            });
            places.truncate(most);
            places.sort_unstable();
        }
        places
    }

    /// What concerns all: how many have no row, and how the connections fare.
    fn footer(&self, shown: usize) -> Option<String> {
        let mut parts = Vec::new();
        let rest = self.jobs.len() - shown;
        if rest > 0 {
            let count = |state| {
                let jobs = self.jobs.iter();
                let count = jobs.filter(|job| job.face.status == state).count();
                (count > 0).then(|| format!("{count} {state}"))
            };
            let states = ["pending", "processing", "completed", "failed", "cancelled"];
            let counts: Vec<_> = states.into_iter().filter_map(count).collect();
            let all = self.jobs.len();
            let counts = counts.join(", ");
            parts.push(format!("{rest} more of {all} jobs: {counts}"));
        }
        let mut sources: Vec<_> = self.lines.iter().collect();
        sources.sort_unstable_by_key(|(source, _)| **source);
        let troubles = sources.into_iter().filter_map(|(_, line)| match line {
            Line::Live => None,
            Line::Polling => Some("asking again and again: streams do not get through".to_owned()),
            Line::Reconnecting(None) => Some("reconnecting…".to_owned()),
            Line::Reconnecting(Some(reason)) => {
                Some(format!("reconnecting… ({})", words::clean(reason)))
            }
        });
        let mut troubles: Vec<_> = troubles.collect();
        troubles.dedup();
        let yellow = Style::new().yellow();
        parts.extend(
            troubles
                .iter()
                .map(|text| yellow.apply_to(text).to_string()),
        );
        if parts.is_empty() && self.jobs.is_empty() {
            parts.push("waiting for the first job".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("  "))
    }

    /// How wide names are shown, so that bars begin below each other.
    fn label_width(&self, width: usize) -> usize {
        let labels = self.jobs.iter().filter_map(|job| job.label.as_deref());
        let widest = labels.map(measure_text_width).max().unwrap_or(0);
        widest.min(WIDEST_LABEL).min(width / 3)
    }

    /// Columns to write in: in the last one some terminals break the line.
    fn width(&self) -> usize {
        usize::from(self.term.size().1).saturating_sub(1).max(1)
    }
}

impl Job {
    fn content(&self, label_width: usize, width: usize) -> Content {
        let face = &self.face;
        let label = self.label.as_deref().unwrap_or_default();
        let label = match label_width {
            0 => String::new(),
            _ => {
                let label = truncate_str(label, label_width, "…");
                let padded = pad_str(&label, label_width, console::Alignment::Left, None);
                format!("{padded}  ")
            }
        };
        let color = match &*face.status {
            "failed" => "red",
            "completed" => "green",
            "cancelled" => "yellow",
            _ if face.stalled => "yellow",
            _ => "cyan",
        };
        let percent = face.progress_percentage.map(|percent| {
            let percent = if percent.is_finite() { percent } else { 0.0 };
            percent.clamp(0.0, 100.0)
        });
        let look = match percent {
            Some(_) => Look::Bar {
                color,
                width: if width < 80 { 12 } else { 24 },
            },
            None if face.is_finished() => Look::Words,
            None => Look::Spinner,
        };
        let drawn = label_width + usize::from(label_width > 0) * 2 + look.width();
        let words = self.words(percent);
        Content {
            look,
            position: percent.map_or(0, |percent| (percent * 100.0) as u64),
            label,
            words: truncate_str(&words, width.saturating_sub(drawn).max(1), "…").into_owned(),
        }
    }

    fn words(&self, percent: Option<f64>) -> String {
        let face = &self.face;
        let mut fields = Vec::new();
        fields.extend(percent.map(|percent| format!("{:>3} %", percent.floor())));
        fields.extend(words::counts(face));
        let style = match &*face.status {
            "failed" => Style::new().red().bold(),
            "completed" => Style::new().green(),
            "cancelled" => Style::new().yellow(),
            _ => Style::new().dim(),
        };
        if face.status != "processing" {
            let state = words::clean(&face.status);
            fields.push(style.apply_to(state).to_string());
        }
        let alarm = Style::new().yellow().bold();
        let flags = words::flags(face).into_iter();
        fields.extend(flags.map(|flag| alarm.apply_to(flag).to_string()));
        fields.extend(words::rate(face));
        fields.extend(words::remaining(face, self.since.elapsed().as_secs()));
        fields.extend(words::doing(face).map(|doing| match face.error {
            Some(_) => Style::new().red().apply_to(doing).to_string(),
            None => doing,
        }));
        fields.join("  ")
    }
}

impl Row {
    /// Whether that is anything new.
    fn set(&mut self, content: Content) -> bool {
        // A terminal far away is not sent what it shows already; a spinner turns.
        if content.look != Look::Spinner && self.content.as_ref() == Some(&content) {
            return false;
        }
        if self.content.as_ref().map(|content| content.look) != Some(content.look) {
            self.bar.set_style(content.look.style());
        }
        self.bar.set_position(content.position);
        self.bar.set_prefix(content.label.clone());
        self.bar.set_message(content.words.clone());
        self.bar.tick();
        self.content = Some(content);
        true
    }
}

impl Look {
    fn width(self) -> usize {
        match self {
            Self::Bar { width, .. } => width + 1,
            Self::Spinner => 2,
            Self::Words => 0,
        }
    }

    fn style(self) -> ProgressStyle {
        let template = match self {
            Self::Bar { color, width } => format!("{{prefix}}{{bar:{width}.{color}}} {{msg}}"),
            Self::Spinner => "{prefix}{spinner} {msg}".to_owned(),
            Self::Words => "{prefix}{msg}".to_owned(),
        };
        ProgressStyle::with_template(&template).expect("the templates are fixed and valid")
    }
}
