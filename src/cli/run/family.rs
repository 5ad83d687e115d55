//! A process and those that it has started, as far as the system says (Linux: proc(5)).
//!
//! Who ends leaves its children to somebody else, and its number to a later process. So everybody is remembered who
//! was seen once, together with the time of its start, which tells it from a later one.

use std::{collections::HashMap, fs};

use rustix::process::{Pid, Signal, kill_process};

/// Processes, each with the time of its start.
#[derive(Debug, Default)]
pub(super) struct Family(HashMap<Pid, u64>);

impl Family {
    /// One more, where it is still there.
    pub(super) fn add(&mut self, process: Pid) {
        if let Some(start) = start_of(process) {
            self.0.insert(process, start);
        }
    }

    /// Forgets who is gone, and finds whom the others have started meanwhile.
    pub(super) fn look(&mut self) {
        self.0
            .retain(|process, start| start_of(*process) == Some(*start));
        let mut parents: Vec<_> = self.0.keys().copied().collect();
        while let Some(parent) = parents.pop() {
            for child in children_of(parent) {
                if !self.0.contains_key(&child) {
                    self.add(child);
                    parents.push(child);
                }
            }
        }
    }

    /// Sends a signal to all.
    pub(super) fn tell(&self, signal: Signal) {
        for process in self.0.keys() {
            let _ = kill_process(*process, signal);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// When it has started, unless it has ended.
fn start_of(process: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    // What is dead and was not waited for cannot be told anything.
    (!matches!(state, "Z" | "X")).then_some(start)
}

fn children_of(process: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
    let tasks = tasks.into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children = children.flat_map(|children| {
        let numbers = children.split_ascii_whitespace();
        let numbers = numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?));
        numbers.collect::<Vec<_>>()
    });
    children.collect()
}
