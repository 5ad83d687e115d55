//! A process under measurement, and what the kernel says of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that Rust runs on (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// A child that has said where it listens. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// A progressd that sends every report at once.
    pub(crate) fn start_server() -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("PROGRESSD__STREAM__UPDATE_INTERVAL_MS", "0")
            .env("PROGRESSD__STORE__BACKEND", "memory")
            .env("PROGRESSD__LOG__FILTER", "off");
        Self::start(&mut command)
    }

    /// Starts a program whose first line ends with its URL.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the child's output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let url = line
            .split_whitespace()
            .last()
            .context("the child's address")?
            .to_owned();
        Ok(Self { child, url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Memory that is really there, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("VmRSS")?;
        let kibibytes: u64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
        Ok(kibibytes * 1024)
    }

    /// CPU time in user and kernel, in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        let after_name = stat.rsplit_once(") ").context("a stat line")?.1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / TICKS_PER_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
