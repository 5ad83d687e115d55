//! Medians, their spread and ratios, as a Markdown table.

use std::fmt::Write as _;

use crate::{
    Peer,
    scenario::{Figures, Size},
};

/// What a ratio of progressd's figure to Nchan's should be.
#[derive(Clone, Copy)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

struct Row {
    /// Its name among the figures.
    figure: &'static str,
    title: String,
    decimals: usize,
    aim: Option<Aim>,
}

fn rows(size: &Size) -> Vec<Row> {
    let Size {
        idle_watchers: many,
        watchers,
        jobs,
        ..
    } = size;
    let fanout = format!("{watchers} watchers × 20/s");
    let row = |figure, title: String, decimals, aim| Row {
        figure,
        title,
        decimals,
        aim,
    };
    let at_most = |ratio| Some(Aim::AtMost(ratio));
    let at_least = |ratio| Some(Aim::AtLeast(ratio));
    vec![
        row(
            "idle_kib",
            format!("idle memory per connection at {many}, KiB (PSS)"),
            2,
            at_most(0.10),
        ),
        row(
            "fanout_cpu",
            format!("CPU seconds per million deliveries, {fanout}"),
            2,
            at_most(0.60),
        ),
        row(
            "jobs_cpu",
            format!("CPU seconds per million deliveries, {jobs} jobs × 2 watchers × 1/s"),
            2,
            at_most(0.75),
        ),
        row(
            "one_per_second",
            format!("most deliveries/s, {watchers} watchers, 1 in flight"),
            0,
            at_least(1.3),
        ),
        row(
            "sixteen_per_second",
            format!("most deliveries/s, {watchers} watchers, 16 in flight"),
            0,
            at_least(8.0),
        ),
        row("fanout_p50", format!("latency p50, {fanout}, ms"), 2, None),
        row(
            "fanout_p99",
            format!("latency p99, {fanout}, ms"),
            2,
            at_most(0.7),
        ),
        row(
            "wide_p50",
            format!("latency p50, {many} watchers × 2/s, ms"),
            1,
            None,
        ),
        row(
            "wide_p99",
            format!("latency p99, {many} watchers × 2/s, ms"),
            1,
            at_most(0.7),
        ),
        row(
            "jobs_p50",
            format!("latency p50, {jobs} jobs × 2, ms"),
            2,
            None,
        ),
        row(
            "jobs_p99",
            format!("latency p99, {jobs} jobs × 2, ms"),
            2,
            None,
        ),
        row(
            "connects_per_second",
            "connects/s, first block and close included".to_owned(),
            0,
            None,
        ),
        row(
            "connects_cpu",
            "CPU per connect, µs".to_owned(),
            1,
            at_most(1.2),
        ),
        row(
            "reports_per_second",
            "reports/s, one a request".to_owned(),
            0,
            None,
        ),
        row(
            "reports_cpu",
            "CPU per report, µs".to_owned(),
            1,
            at_most(1.2),
        ),
        row("bulk_per_second", "reports/s, NDJSON".to_owned(), 0, None),
        row(
            "bulk_cpu",
            "CPU per report in NDJSON, µs".to_owned(),
            2,
            None,
        ),
    ]
}

/// The scenarios in which every message is followed.
const COUNTED: [&str; 5] = ["wide", "fanout", "jobs", "one", "sixteen"];

/// Those of them in which progressd has statuses to deliver, not events.
const STATUSES: [&str; 4] = ["wide", "fanout", "jobs", "one"];

/// A column for each peer, and for each progressd one with its ratio to the first peer that is none.
pub(crate) fn markdown(peers: &[Peer], runs: &[Vec<Figures>], size: &Size) -> String {
    let own: Vec<_> = (0..peers.len())
        .filter(|peer| peers[*peer].is_progressd())
        .collect();
    let reference = (0..peers.len()).find(|peer| !peers[*peer].is_progressd());
    let has_aims = reference.is_some_and(|peer| matches!(peers[peer], Peer::Nchan));

    let mut head = "| figure |".to_owned();
    for peer in peers {
        let _ = write!(head, " {} |", peer.name());
    }
    if let Some(reference) = reference {
        for &peer in &own {
            let _ = write!(
                head,
                " {} / {} |",
                peers[peer].name(),
                peers[reference].name()
            );
        }
        head += if has_aims { " aim |" } else { "" };
    }
    let columns = head.matches('|').count() - 2;
    let mut text = format!("{head}\n|---|{}\n", "---:|".repeat(columns));

    for row in rows(size) {
        let of = |peer: usize| Spread::of(&runs[peer], row.figure);
        if peers.iter().enumerate().all(|(peer, _)| of(peer).is_none()) {
            continue;
        }
        let _ = write!(text, "| {} |", row.title);
        for peer in 0..peers.len() {
            let cell = of(peer).map_or("–".to_owned(), |spread| spread.text(row.decimals));
            let _ = write!(text, " {cell} |");
        }
        if let Some(reference) = reference {
            for &peer in &own {
                let ratio = of(peer).zip(of(reference));
                let ratio = ratio.map(|(own, other)| own.median / other.median);
                let cell = ratio.map_or("–".to_owned(), |ratio| told(ratio, row.aim, has_aims));
                let _ = write!(text, " {cell} |");
            }
            if has_aims {
                let aim = row.aim.map_or("–".to_owned(), |aim| match aim {
                    Aim::AtMost(ratio) => format!("≤ {ratio} ×"),
                    Aim::AtLeast(ratio) => format!("≥ {ratio} ×"),
                });
                let _ = write!(text, " {aim} |");
            }
        }
        text.push('\n');
    }
    let ratios = reference.map_or(0, |_| own.len());
    let aim = if has_aims { " 0 |" } else { "" };
    count_rows(&mut text, peers, runs, ratios, aim);
    text
}

/// A ratio, and whether it is what it should be.
fn told(ratio: f64, aim: Option<Aim>, has_aims: bool) -> String {
    let decimals = if ratio < 0.1 { 3 } else { 2 };
    let verdict = match aim.filter(|_| has_aims) {
        None => "",
        Some(Aim::AtMost(most)) if ratio <= most => ", met",
        Some(Aim::AtLeast(least)) if ratio >= least => ", met",
        Some(_) => ", **missed**",
    };
    format!("{ratio:.decimals$} ×{verdict}")
}

/// What went wrong with a peer, added up over all runs.
struct Wrongs {
    deliveries: f64,
    lost: f64,
    repeated: f64,
    reordered: f64,
    /// Statuses that a newer one has replaced: not lost, which Nchan and Pushpin know nothing of.
    replaced: f64,
    ended: f64,
}

impl Wrongs {
    fn of(peer: &Peer, runs: &[Figures]) -> Self {
        let figures = |names: &[&str], figure: &str| -> f64 {
            let names: Vec<_> = names
                .iter()
                .map(|name| format!("{name}_{figure}"))
                .collect();
            let figures = runs
                .iter()
                .flat_map(|run| names.iter().map(|name| run.get(name)));
            // The sum of none would be -0.
            figures.flatten().sum::<f64>() + 0.0
        };
        let sum = |figure| figures(&COUNTED, figure);
        let replaced = match peer.is_progressd() {
            true => figures(&STATUSES, "passed_over"),
            false => 0.0,
        };
        Self {
            deliveries: sum("deliveries"),
            lost: sum("passed_over") + sum("never_came") - replaced,
            repeated: sum("repeated"),
            reordered: sum("reordered"),
            replaced,
            ended: sum("ended"),
        }
    }
}

/// Whether a progressd has broken a promise.
pub(crate) fn has_broken(peers: &[Peer], runs: &[Vec<Figures>]) -> bool {
    let own = peers
        .iter()
        .zip(runs)
        .filter(|(peer, _)| peer.is_progressd());
    own.map(|(peer, runs)| Wrongs::of(peer, runs))
        .any(|wrongs| wrongs.lost + wrongs.repeated + wrongs.reordered + wrongs.ended > 0.0)
}

/// The last rows: what must be 0.
fn count_rows(text: &mut String, peers: &[Peer], runs: &[Vec<Figures>], ratios: usize, aim: &str) {
    let wrongs = peers.iter().zip(runs);
    let wrongs: Vec<_> = wrongs.map(|(peer, runs)| Wrongs::of(peer, runs)).collect();
    if wrongs.iter().all(|wrongs| wrongs.deliveries == 0.0) {
        return;
    }
    let mut line = |title: &str, aim: &str, cell: &dyn Fn(&Wrongs) -> String| {
        let cells: Vec<_> = wrongs.iter().map(cell).collect();
        let ratios = " – |".repeat(ratios);
        let _ = writeln!(text, "| {title} | {} |{ratios}{aim}", cells.join(" | "));
    };
    line("lost · repeated · reordered", aim, &|wrongs| {
        let Wrongs {
            lost,
            repeated,
            reordered,
            ..
        } = wrongs;
        format!("{lost} · {repeated} · {reordered}")
    });
    line("connections ended", aim, &|wrongs| wrongs.ended.to_string());
    let aim = if aim.is_empty() { "" } else { " – |" };
    line("of so many deliveries", aim, &|wrongs| {
        wrongs.deliveries.to_string()
    });
    line("statuses that a newer one replaced", aim, &|wrongs| {
        wrongs.replaced.to_string()
    });
}

/// A figure over all runs.
struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(runs: &[Figures], figure: &str) -> Option<Self> {
        let values = runs.iter().filter_map(|run| run.get(figure).copied());
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let is_even = values.len().is_multiple_of(2);
        Some(Self {
            lowest: *values.first()?,
            median: match is_even {
                true => f64::midpoint(values[middle - 1], values[middle]),
                false => values[middle],
            },
            highest: *values.last()?,
        })
    }

    fn text(&self, decimals: usize) -> String {
        let Self {
            lowest,
            median,
            highest,
        } = self;
        if lowest == highest {
            return format!("{median:.decimals$}");
        }
        format!("{median:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})")
    }
}
