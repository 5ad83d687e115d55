//! What the doctor says: lines for people as they come, or one object for programs at the end.

use std::io::{self, Write};

use serde::Serialize;

use super::finding::{Finding, Verdict};

/// How much of a line is shown that repeats what somebody else has sent.
const MOST_CHARS: usize = 400;

/// Columns before what was seen.
const INDENT: usize = 22;

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Lines.
    Plain,
    /// Lines with colours.
    Coloured,
    /// One object.
    Json,
}

/// What all of it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// No problem; there may be warnings.
    Well,
    /// A problem at least.
    Problem,
    /// No stream could be looked at.
    CouldNotLook,
}

/// Takes findings, and writes them.
#[derive(Debug)]
pub(super) struct Report<W> {
    output: W,
    style: Style,
    address: String,
    findings: Vec<Finding>,
}

impl<W: Write> Report<W> {
    /// An empty one on an address.
    ///
    /// # Errors
    /// `output` takes no more.
    pub(super) fn begin(mut output: W, style: Style, address: &str) -> io::Result<Self> {
        let address = printable(address);
        if style != Style::Json {
            writeln!(output, "{address}")?;
        }
        Ok(Self {
            output,
            style,
            address,
            findings: Vec::new(),
        })
    }

    /// Adds findings, and shows them to people.
    ///
    /// # Errors
    /// `output` takes no more.
    pub(super) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> io::Result<()> {
        for mut finding in findings {
            // From here on nothing is in it that a terminal would obey.
            finding.seen = printable(&finding.seen);
            finding.change = finding.change.iter().map(|line| printable(line)).collect();
            if self.style != Style::Json {
                self.write(&finding)?;
            }
            self.findings.push(finding);
        }
        self.output.flush()
    }

    /// Says what it comes to.
    ///
    /// # Errors
    /// `output` takes no more.
    pub(super) fn end(mut self, is_looked_at: bool) -> io::Result<Outcome> {
        let count = |verdict| {
            self.findings
                .iter()
                .filter(|finding| finding.verdict == verdict)
                .count()
        };
        let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
        let outcome = match (is_looked_at, problems) {
            (false, _) => Outcome::CouldNotLook,
            (true, 0) => Outcome::Well,
            (true, _) => Outcome::Problem,
        };
        if self.style == Style::Json {
            #[derive(Serialize)]
            struct Object<'a> {
                address: &'a str,
                outcome: Outcome,
                problems: usize,
                warnings: usize,
                findings: &'a [Finding],
            }
            let object = Object {
                address: &self.address,
                outcome,
                problems,
                warnings,
                findings: &self.findings,
            };
            serde_json::to_writer(&mut self.output, &object)?;
            writeln!(self.output)?;
            return Ok(outcome);
        }
        let counted = format!(
            "{}, {}",
            number(problems, "problem"),
            number(warnings, "warning")
        );
        let (verdict, text) = match outcome {
            Outcome::CouldNotLook => (
                Verdict::Problem,
                format!("no stream could be looked at: {counted}"),
            ),
            Outcome::Problem => (Verdict::Problem, format!("something is wrong: {counted}")),
            Outcome::Well if warnings > 0 => (Verdict::Warning, format!("streams work: {counted}")),
            Outcome::Well => (Verdict::Ok, "streams work".to_owned()),
        };
        writeln!(self.output, "{}", self.coloured(verdict, &text))?;
        Ok(outcome)
    }

    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let last = self.findings.last();
        if last.is_none_or(|last| last.group != finding.group) {
            writeln!(self.output, "{}", finding.group)?;
        }
        let sign = match finding.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Problem => "FAIL",
            Verdict::NotLookedAt => "-   ",
        };
        let sign = self.coloured(finding.verdict, sign);
        writeln!(
            self.output,
            "  {sign}  {:<14}{}",
            finding.check, finding.seen
        )?;
        let is_known = |known: &Finding| known.change == finding.change;
        if finding.change.len() > 1 && self.findings.iter().any(is_known) {
            return writeln!(self.output, "{:INDENT$}- the same as above", "");
        }
        for line in &finding.change {
            writeln!(self.output, "{:INDENT$}- {line}", "")?;
        }
        Ok(())
    }

    fn coloured(&self, verdict: Verdict, text: &str) -> String {
        let colour = match verdict {
            _ if self.style != Style::Coloured => return text.to_owned(),
            Verdict::Ok => 32,
            Verdict::Warning => 33,
            Verdict::Problem => 31,
            Verdict::NotLookedAt => 2,
        };
        format!("\x1b[{colour}m{text}\x1b[0m")
    }
}

/// What others have written, without what a terminal would obey or show elsewhere, and not at any length.
fn printable(text: &str) -> String {
    let is_sly = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let letters = text.chars().take(MOST_CHARS);
    letters
        .map(|letter| match is_sly(letter) {
            true => letter.escape_default().to_string(),
            false => letter.to_string(),
        })
        .collect()
}

fn number(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Group;

    const GROUP: Group = Group("server");

    fn reported(style: Style, findings: Vec<Finding>, is_looked_at: bool) -> (Outcome, String) {
        let mut output = Vec::new();
        let mut report = Report::begin(&mut output, style, "http://p.example/").expect("room");
        report.add(findings).expect("room");
        let outcome = report.end(is_looked_at).expect("room");
        (outcome, String::from_utf8(output).expect("UTF-8"))
    }

    #[test]
    fn warnings_are_no_failure_and_what_cannot_be_looked_at_is_another() {
        let warning = || GROUP.warning("w", "seen");
        let problem = || GROUP.problem("p", "seen").change("this");
        for (findings, is_looked_at, expected, last) in [
            (vec![], true, Outcome::Well, "streams work"),
            (
                vec![warning()],
                true,
                Outcome::Well,
                "streams work: 0 problems, 1 warning",
            ),
            (
                vec![problem(), warning(), problem()],
                true,
                Outcome::Problem,
                "something is wrong: 2 problems, 1 warning",
            ),
            (
                vec![problem()],
                false,
                Outcome::CouldNotLook,
                "no stream could be looked at: 1 problem, 0 warnings",
            ),
        ] {
            let (outcome, text) = reported(Style::Plain, findings, is_looked_at);
            assert_eq!((outcome, text.lines().last()), (expected, Some(last)));
        }
    }

    #[test]
    fn lines_are_grouped_and_what_to_change_stands_below() {
        let findings = vec![
            GROUP.ok("one", "fine"),
            GROUP
                .problem("two", "broken")
                .change("this")
                .change("or that"),
            Group("pages").skipped("three", "not asked for"),
        ];
        let (_, text) = reported(Style::Plain, findings, true);
        let expected = "http://p.example/\nserver\n  ok    one           fine\n  FAIL  two           broken\n\
                        \x20                     - this\n                      - or that\npages\n  -     three         \
                        not asked for\nsomething is wrong: 1 problem, 0 warnings\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn advice_is_given_once() {
        let finding = |check| {
            GROUP
                .problem(check, "seen")
                .change("this")
                .change("or that")
        };
        let (_, text) = reported(Style::Plain, vec![finding("one"), finding("two")], true);
        assert_eq!(text.matches("or that").count(), 1, "{text}");
        assert!(text.contains("- the same as above\n"), "{text}");
    }

    #[test]
    fn what_a_server_sends_does_not_reach_the_terminal_as_it_is() {
        let seen = "red \x1b[31m, a line\nand \u{202e}backwards";
        for style in [Style::Plain, Style::Json] {
            let (_, text) = reported(style, vec![GROUP.problem("p", seen).change(seen)], true);
            let is_plain =
                |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
            assert!(text.chars().all(is_plain), "{text:?}");
        }
        let long = GROUP.ok("p", "x".repeat(100_000));
        assert!(reported(Style::Plain, vec![long], true).1.len() < 1000);
    }

    #[test]
    fn programs_get_one_object() {
        let findings = vec![GROUP.problem("p", "seen").change("this")];
        let (_, text) = reported(Style::Json, findings, true);
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "address": "http://p.example/",
            "outcome": "problem",
            "problems": 1,
            "warnings": 0,
            "findings": [
                {"group": "server", "check": "p", "verdict": "problem", "seen": "seen", "change": ["this"]},
            ],
        });
        assert_eq!(object, expected);
    }
}
