//! What is heard in output: single lines, and what real programs have printed.

use proptest::{collection::vec, prelude::*};

use super::{
    output::{Ear, Heard},
    progress::{Progress, Sight, Tracker},
};

/// What is heard at the end of all this on standard error, and all progress on the way, one word for each change.
fn listen(total: Option<u64>, pieces: &[&[u8]]) -> (Heard, Vec<String>) {
    let ear = Ear::new(total);
    let heard = ear.heard();
    let mut listener = ear.listener(true);
    let mut words = Vec::new();
    for piece in pieces {
        listener.take_in(piece);
        if let Some(progress) = heard.borrow().progress {
            words.push(word(progress));
        }
    }
    listener.rest();
    words.extend(heard.borrow().progress.map(word));
    words.dedup();
    let heard = heard.borrow().clone();
    (heard, words)
}

fn word(progress: Progress) -> String {
    match progress {
        Progress::Count { done, total } => format!("{done}/{total}"),
        Progress::Percentage(percentage) => format!("{percentage}%"),
    }
}

/// Recorded output byte by byte, as a slow program would print it.
#[track_caller]
fn assert_heard(recorded: &[u8], first: &[&str], last: &str, message: &str) {
    let pieces: Vec<_> = recorded.chunks(1).collect();
    let (heard, words) = listen(None, &pieces);
    assert_eq!(&words[..first.len().min(words.len())], first, "{words:?}");
    assert_eq!(words.last().map(String::as_str), Some(last), "{words:?}");
    let said = heard.message.unwrap_or_default();
    assert!(said.contains(message), "{said:?}");
}

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("tests/recorded/", $name, ".txt"))
    };
}

#[test]
fn a_tqdm_bar_is_counted_from_nothing_to_its_end() {
    assert_heard(
        recorded!("tqdm-one"),
        &["0/40", "4/40", "8/40"],
        "40/40",
        "40/40 [00:01<00:00",
    );
}

#[test]
fn a_tqdm_bar_with_large_units_is_counted_in_units() {
    let first = ["0/45600000", "4560000/45600000", "9120000/45600000"];
    assert_heard(
        recorded!("tqdm-scaled"),
        &first,
        "45600000/45600000",
        "45.6M/45.6M",
    );
}

#[test]
fn of_nested_bars_the_outer_one_counts() {
    let first = ["0/4", "1/4", "2/4", "3/4", "4/4"];
    assert_heard(recorded!("tqdm-nested"), &first, "4/4", "files: 100%");
}

#[test]
fn bare_numbers_of_pv_are_percentages() {
    assert_heard(recorded!("pv-n"), &["20%", "31%", "41%"], "100%", "100");
}

#[test]
fn bars_of_pv_curl_wget_and_rich_are_percentages() {
    // A time follows behind it in words.
    assert_heard(recorded!("pv-bar"), &["20%", "31%", "41%"], "100%", "[====");
    assert_heard(
        recorded!("wget-bar"),
        &["0%", "7%", "14%"],
        "100%",
        "saved [3000000/3000000]",
    );
    assert_heard(
        recorded!("wget-dot"),
        &["1%", "3%", "5%"],
        "100%",
        "saved [3000000/3000000]",
    );
    assert_heard(recorded!("rich"), &["0%", "10%"], "100%", "Work");
    assert_heard(recorded!("curl-bar"), &["100%"], "100%", "####");
}

#[test]
fn rsync_counts_up_and_what_it_has_still_to_check_is_not_progress() {
    let first = ["1%", "20%", "40%", "60%", "80%", "100%"];
    assert_heard(recorded!("rsync-progress2"), &first, "100%", "to-chk=0/6");
}

#[test]
fn counters_and_percentages_in_brackets_count_from_the_first() {
    assert_heard(
        recorded!("ninja"),
        &["1/12", "2/12"],
        "12/12",
        "[12/12] touch",
    );
    assert_heard(
        recorded!("pytest"),
        &["33%", "66%", "100%"],
        "100%",
        "9 passed",
    );
    assert_heard(
        recorded!("pytest-v"),
        &["11%", "22%", "33%"],
        "100%",
        "9 passed",
    );
}

#[test]
fn of_phases_that_follow_each_other_the_running_one_counts() {
    let recorded = recorded!("git-clone");
    let pieces: Vec<_> = recorded.split_inclusive(|byte| *byte == b'\r').collect();
    let (_, words) = listen(None, &pieces);
    let counting = [
        "1/302", "61/302", "121/302", "182/302", "242/302", "302/302",
    ];
    let compressing = ["1/2", "2/2"];
    let receiving = [
        "1/302", "58/302", "61/302", "121/302", "182/302", "242/302", "302/302",
    ];
    assert_eq!(words, [&counting[..], &compressing, &receiving].concat());
}

#[test]
fn output_without_progress_has_none() {
    for recorded in [recorded!("dd").as_slice(), recorded!("curl-meter")] {
        assert_eq!(listen(None, &[recorded]).0.progress, None);
    }
}

/// What is heard of these lines, each at its time.
fn of_lines(total: Option<u64>, lines: &[&str]) -> Vec<String> {
    let lines: Vec<_> = lines.iter().map(|line| format!("{line}\n")).collect();
    let pieces: Vec<_> = lines.iter().map(String::as_bytes).collect();
    listen(total, &pieces).1
}

#[test]
fn a_line_alone_counts_when_it_is_nothing_but_progress() {
    for (line, word) in [
        ("3/10", "3/10"),
        ("3 / 10", "3/10"),
        ("done 3/10.", "3/10"),
        ("1,234/5,678 files", ""),
        ("[12/345] Building foo.o", "12/345"),
        ("(12/345) Installing x", "12/345"),
        ("Epoch 1/10", "1/10"),
        ("Step 0/3 : FROM x", "0/3"),
        ("42%", "42%"),
        ("42.5 %", "42.5%"),
        ("12,5%", "12.5%"),
        ("progress=42%", "42%"),
        ("progress=42/100", "42/100"),
        ("Copying....42%", "42%"),
        ("━━━━ 1.2/3.4 MB 5.6 MB/s eta 0:00:01", ""),
        ("Get: 12.5MB/50.0MB", "12500000/50000000"),
        ("Get: 512KiB/1MiB", "524288/1048576"),
        ("Get: 1.5/3.0", "50%"),
        ("\u{1b}[32m42%\u{1b}[0m", "42%"),
        ("\u{1b}]9;4;1;42\u{7}", "42%"),
        (
            "Receiving objects:  42% (420/1000), 1.2 MiB | 3 MiB/s",
            "420/1000",
        ),
    ] {
        let words = of_lines(None, &[line]);
        assert_eq!(words.first().map_or("", String::as_str), word, "{line}");
    }
}

#[test]
fn what_only_looks_like_progress_is_none() {
    for line in [
        "2026/11/21",
        "11/21/26",
        "at 21/11/2026 12:00",
        "HTTP/1.1 200 OK",
        "GET /a/12/34/b",
        "10.0.0.0/24",
        "listening 24/7",
        "1/2 cup of flour",
        "3/4 of them",
        "0/1",
        "1/1",
        "-3/10",
        "v1.2/3.4",
        "1:23/4:56",
        "12/s",
        "12/345ms",
        "xfr#5, to-chk=169/396",
        "https://a.example/x%20y?50%25",
        "50%25",
        "printf 5%d",
        "%42",
        "142%",
        "-5%",
        "5% of all packets were lost",
        "a12/20",
        "99999999999999999999/99999999999999999999",
        "1/2/3/4",
        "³/₄ ½",
        "12 / 345ms",
        "1 000/2 000",
        "1 001/2 000",
        "1'001/2'500",
        "1\u{a0}001/2\u{a0}500",
        "1\u{202f}001/2\u{202f}500",
    ] {
        assert_eq!(of_lines(None, &[line]), <[&str; 0]>::default(), "{line}");
    }
}

#[test]
fn numbers_in_a_sentence_count_once_they_move() {
    let lines = [
        "Copied 2/10 files",
        "Copied 2/10 files",
        "Copied 3/10 files",
    ];
    assert_eq!(of_lines(None, &lines), ["3/10"]);
    assert_eq!(of_lines(None, &["5% of it", "hm", "6% of it"]), ["6%"]);
}

#[test]
fn what_moves_counts_more_than_what_a_line_happened_to_end_with() {
    let lines = ["Coverage: 87%", "0/200", "1/200", "Coverage: 87%"];
    assert_eq!(of_lines(None, &lines), ["87%", "0/200", "1/200"]);
}

#[test]
fn an_outer_bar_that_is_drawn_only_at_its_ends_is_full_at_the_end() {
    let lines = [
        "  0%|     | 0/30 [00:00<?, ?it/s]",
        "  0%|     | 0/50 [00:00<?, ?it/s]",
        "  0%|     | 0/50 [00:00<?, ?it/s]",
        "100%|#####| 30/30 [00:00<00:00, 9470.81it/s]",
    ];
    assert_eq!(of_lines(None, &lines), ["0/30", "30/30"]);
}

#[test]
fn an_epoch_counts_more_than_its_steps() {
    let mut lines = Vec::new();
    for epoch in 1..=3 {
        lines.push(format!("Epoch {epoch}/5"));
        lines.extend((1..=4).map(|step| format!("{}/100 [==>..] - ETA: 3s", step * 25)));
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_eq!(of_lines(None, &lines), ["1/5", "2/5", "3/5"]);
}

#[test]
fn late_lines_of_several_workers_do_not_turn_progress_back() {
    let lines = ["[10/100] a", "[12/100] b", "[11/100] c", "[13/100] d"];
    assert_eq!(of_lines(None, &lines), ["10/100", "12/100", "13/100"]);
}

#[test]
fn a_counter_whose_total_changes_goes_on() {
    let lines = ["[5/100] a", "[6/87] b", "[7/87] c", "[8/90] d"];
    assert_eq!(of_lines(None, &lines), ["5/100", "6/87", "7/87", "8/90"]);
}

#[test]
fn a_known_total_is_what_counts_are_out_of() {
    let lines = ["Epoch 1/10", "3/1000", "Epoch 2/10", "4/1000"];
    assert_eq!(of_lines(Some(1000), &lines), ["3/1000", "4/1000"]);
    assert_eq!(
        of_lines(Some(2000), &["42%", "43.5%"]),
        ["840/2000", "870/2000"]
    );
}

#[test]
fn a_bar_that_is_drawn_over_by_backspaces_is_seen() {
    let pieces: [&[u8]; 3] = [b"copy 10%\x08\x08\x08", b"20%\x08\x08\x08", b"30%\n"];
    assert_eq!(listen(None, &pieces).1, ["10%", "20%", "30%"]);
    let (heard, words) = listen(None, &[&pieces.concat()]);
    assert_eq!(words, ["30%"]);
    assert_eq!(heard.message.as_deref(), Some("copy 30%"));
}

#[test]
fn numbers_alone_are_percentages_only_where_there_is_nothing_else() {
    assert_eq!(of_lines(None, &["7", "8", "9"]), ["8%", "9%"]);
    assert_eq!(of_lines(None, &["rows:", "7", "8"]), <[&str; 0]>::default());
    let ear = Ear::new(None);
    ear.listener(false).take_in(b"7\n8\n9\n");
    assert_eq!(
        ear.heard().borrow().progress,
        None,
        "results on standard output"
    );
}

#[test]
fn the_last_line_that_is_not_blank_is_the_message() {
    let message = |text: &str| listen(None, &[text.as_bytes()]).0.message;
    assert_eq!(message("one\ntwo\n\n  \n").as_deref(), Some("two"));
    assert_eq!(message("one\r\ntwo\r\n").as_deref(), Some("two"));
    assert_eq!(message("one\ntw").as_deref(), Some("tw"));
    assert_eq!(message("a\tb\u{7}\n").as_deref(), Some("a b"));
    assert_eq!(message("\u{1b}[1mbold\u{1b}[0m\n").as_deref(), Some("bold"));
    assert_eq!(message("old\rnew").as_deref(), Some("new"));
    assert_eq!(message("at work |\u{8}/").as_deref(), Some("at work /"));
    assert_eq!(message("\n\n"), None);
    let long = message(&"ä".repeat(5000)).expect("a line");
    assert_eq!(long.chars().count(), 1000);
}

proptest! {
    #[test]
    fn any_bytes_give_progress_within_its_bounds(bytes in vec(any::<u8>(), 0..400), total in prop::option::of(1_u64..1000)) {
        let (heard, _) = listen(total, &[&bytes]);
        match heard.progress {
            Some(Progress::Count { done, total }) => prop_assert!(done <= total),
            Some(Progress::Percentage(percentage)) => prop_assert!((0.0..=100.0).contains(&percentage)),
            None => {}
        }
        let is_clean = |message: &String| !message.contains(char::is_control) && message.chars().count() <= 1000;
        prop_assert!(heard.message.as_ref().is_none_or(is_clean));
    }

    #[test]
    fn any_line_is_read_without_a_panic(lines in vec("[0-9/%., kMGiB:\\[\\]-]{0,20}|\\PC{0,30}", 1..20)) {
        let mut tracker = Tracker::new(None);
        for line in &lines {
            if let Some(sight) = Sight::of(line) {
                tracker.see(sight);
            }
        }
        if let Some(Progress::Count { done, total }) = tracker.progress() {
            prop_assert!(done <= total && total >= 2);
        }
    }

    #[test]
    fn how_output_is_cut_into_pieces_changes_nothing(cuts in vec(1_usize..200, 1..40)) {
        let whole = recorded!("tqdm-nested");
        let mut pieces = Vec::new();
        let mut rest = whole.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, others) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = others;
        }
        prop_assert_eq!(listen(None, &pieces).0, listen(None, &[whole]).0);
    }

    #[test]
    fn a_loop_is_counted_to_its_end(total in 2_u64..300) {
        let lines: Vec<_> = (0..=total).map(|done| format!("working {done}/{total}\r")).collect();
        let pieces: Vec<_> = lines.iter().map(String::as_bytes).collect();
        let (heard, words) = listen(None, &pieces);
        prop_assert_eq!(heard.progress, Some(Progress::Count { done: total, total }));
        prop_assert_eq!(words.len() as u64, total + 1);
    }
}
