//! A server's processes under measurement, and what the kernel says of them.

use std::{
    fs,
    io::{BufRead as _, BufReader, copy, sink},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that Rust runs on (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Longer than any server here takes to listen, on a busy machine as well.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// What a server has to close its connections and end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A server with all its children. They are ended when this is dropped, and by the kernel when the
/// load itself is gone.
pub(crate) struct Process {
    child: Child,
    first_line: String,
}

impl Process {
    /// Starts a server on this core, or on all, and waits until a line of its output has `ready`.
    pub(crate) fn start(
        program: &str,
        arguments: &[&str],
        core: Option<usize>,
        ready: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]);
        if let Some(core) = core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        command.arg(program).args(arguments).stdin(Stdio::null());
        Self::spawn(command, ready).with_context(|| format!("start {program}"))
    }

    fn spawn(mut command: Command, ready: Option<&str>) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the child's output")?;
        // From here on it is ended, whatever fails.
        let mut process = Self {
            child,
            first_line: String::new(),
        };
        let mut lines = BufReader::new(output);
        while let Some(word) = ready {
            process.first_line.clear();
            let read = lines.read_line(&mut process.first_line)?;
            anyhow::ensure!(read > 0, "it ended before it said {word:?}");
            if process.first_line.contains(word) {
                break;
            }
        }
        // What else it says is not wanted, and must not fill the pipe.
        thread::spawn(move || copy(&mut lines, &mut sink()));
        Ok(process)
    }

    /// The line by which it was known to be ready.
    pub(crate) fn ready_line(&self) -> &str {
        &self.first_line
    }

    /// Waits until it listens there.
    pub(crate) fn wait_for(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(self.child.try_wait()?.is_none(), "the server has ended");
            anyhow::ensure!(began.elapsed() < START_PATIENCE, "nobody is at {address}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Memory in bytes, pages that are shared counted in parts: it adds up over processes.
    pub(crate) fn proportional_bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for process in self.tree()? {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let line = rollup.lines().find(|line| line.starts_with("Pss:"));
            let value = line.and_then(|line| line.split_whitespace().nth(1));
            bytes += value.context("Pss")?.parse::<u64>()? * 1024;
        }
        Ok(bytes)
    }

    /// CPU time of all its processes in user and kernel, in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let tree = self.tree()?.into_iter();
        tree.map(|process| Ok(Stat::read(process)?.cpu_seconds))
            .sum()
    }

    pub(crate) fn threads(&self) -> anyhow::Result<usize> {
        self.count("task")
    }

    pub(crate) fn descriptors(&self) -> anyhow::Result<usize> {
        self.count("fd")
    }

    fn count(&self, folder: &str) -> anyhow::Result<usize> {
        let tree = self.tree()?.into_iter();
        tree.map(|process| Ok(fs::read_dir(format!("/proc/{process}/{folder}"))?.count()))
            .sum()
    }

    /// The server and all that descend from it.
    fn tree(&self) -> anyhow::Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Others come and go.
            if let Ok(stat) = Stat::read(process) {
                parents.push((process, stat.parent));
            }
        }
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            let children = parents.iter().filter(|(_, its)| *its == parent);
            tree.extend(children.map(|(process, _)| *process));
            next += 1;
        }
        Ok(tree)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = self.tree().unwrap_or_default();
        let send = |process: u32, signal| {
            if let Some(pid) = Pid::from_raw(process.cast_signed()) {
                let _ = kill_process(pid, signal);
            }
        };
        send(self.child.id(), Signal::TERM);
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < END_PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Those that were left without a parent; who has another one now is somebody else.
        for process in tree.into_iter().skip(1) {
            if Stat::read(process).is_ok_and(|stat| stat.parent == 1) {
                send(process, Signal::KILL);
            }
        }
    }
}

/// CPU time of this process, in seconds.
pub(crate) fn own_cpu_seconds() -> anyhow::Result<f64> {
    Ok(Stat::read(std::process::id())?.cpu_seconds)
}

/// A port that nobody has.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    cpu_seconds: f64,
}

impl Stat {
    fn read(process: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, may hold spaces; the parent, utime and stime are fields 4, 14 and 15.
        let after_name = stat.rsplit_once(") ").context("a stat line")?.1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(Self {
            parent: fields[1].parse()?,
            cpu_seconds: ticks / TICKS_PER_SECOND,
        })
    }
}
