//! A status in words, of which none can lead a terminal astray.

use std::borrow::Cow;

use crate::cli::client::follow::news::{Event, Face};

/// Text from outside as a terminal may have it: characters that move the cursor, change colours, break the line or turn
/// the direction of writing are replaced.
pub fn clean(text: &str) -> Cow<'_, str> {
    match text.contains(is_harmful) {
        true => Cow::Owned(text.replace(is_harmful, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// Control characters (Unicode category Cc, which has the escape and its 8-bit relatives), and those of the
/// category Cf that order or hide what stands beside them. Joiners stay: scripts and emoji need them.
pub(super) fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `750/1000 emails`, or as much of it as is known.
pub(super) fn counts(face: &Face) -> Option<String> {
    let mut text = match (face.processed_count, face.total_count) {
        (None, None) => return None,
        (done, Some(total)) => format!("{}/{total}", done.unwrap_or(0)),
        (Some(done), None) => done.to_string(),
    };
    if let Some(unit) = &face.unit {
        text = format!("{text} {}", clean(unit));
    }
    Some(text)
}

/// `41.7/s`.
pub(super) fn rate(face: &Face) -> Option<String> {
    face.rate_per_second.map(|rate| format!("{rate}/s"))
}

/// `2 min 5 s left`, so long after it was reckoned.
pub(super) fn remaining(face: &Face, seconds_ago: u64) -> Option<String> {
    let seconds = face.eta_seconds?.saturating_sub(seconds_ago);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    // Two units say enough; the smaller one only where it says something.
    let first = parts.iter().position(|(number, _)| *number > 0);
    let shown = parts.iter().skip(first.unwrap_or(parts.len() - 1)).take(2);
    let shown: Vec<_> = shown
        .enumerate()
        .filter(|(place, (number, _))| *place == 0 || *number > 0)
        .map(|(_, (number, unit))| format!("{number} {unit}"))
        .collect();
    Some(format!("{} left", shown.join(" ")))
}

/// What is unusual about it.
pub(super) fn flags(face: &Face) -> Vec<String> {
    let mut flags = Vec::new();
    if face.attempt > 1 {
        flags.push(format!("attempt {}", face.attempt));
    }
    if face.stalled {
        flags.push("stalled".to_owned());
    }
    if face.cancel_requested && !face.is_finished() {
        flags.push("cancel requested".to_owned());
    }
    if face.gap {
        flags.push("events are missing".to_owned());
    }
    flags
}

/// `step: message`, or why it failed.
pub(super) fn doing(face: &Face) -> Option<String> {
    let text = match &face.error {
        Some(error) => match error.code.is_empty() {
            true => error.message.clone(),
            false => format!("{} ({})", error.message, error.code),
        },
        None => {
            let parts = [face.step.as_deref(), face.message.as_deref()];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            parts.join(": ")
        }
    };
    (!text.is_empty()).then(|| clean(&text).into_owned())
}

/// `log  {"line":1}`.
pub(super) fn event(event: &Event) -> String {
    format!("{}  {}", clean(&event.name), clean(event.data.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(json: &str) -> Face {
        serde_json::from_str(json).expect("a status")
    }

    #[test]
    fn nothing_from_outside_orders_a_terminal_about() {
        let text = "a\u{1b}[2Jb\u{9b}31mc\r\nd\te\u{7}f\u{202e}g\u{2066}h\u{7f}";
        let cleaned = clean(text);
        assert!(!cleaned.contains(is_harmful), "{cleaned:?}");
        let letters: String = cleaned.chars().filter(char::is_ascii_lowercase).collect();
        assert_eq!(letters, "abmcdefgh");
        for text in ["Prüfe 検査 👩‍💻", "می‌خواهم"] {
            assert!(matches!(clean(text), Cow::Borrowed(kept) if kept == text));
        }
        let face = face(r#"{"unit": "\u001b[0m", "step": "\u001b]0;x\u0007"}"#);
        assert!(!doing(&face).expect("a step").contains(is_harmful));
    }

    #[test]
    fn the_remaining_time_counts_down_in_two_units_at_most() {
        for (seconds, ago, text) in [
            (0, 0, "0 s left"),
            (59, 0, "59 s left"),
            (60, 0, "1 min left"),
            (65, 4, "1 min 1 s left"),
            (65, 70, "0 s left"),
            (7_260, 0, "2 h 1 min left"),
            (7_201, 0, "2 h left"),
            (90_000, 0, "1 d 1 h left"),
        ] {
            let face = face(&format!("{{\"eta_seconds\": {seconds}}}"));
            assert_eq!(remaining(&face, ago).as_deref(), Some(text));
        }
        assert_eq!(remaining(&Face::default(), 0), None);
    }
}
