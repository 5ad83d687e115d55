//! Debian's redis-server on a free port: one that tests share, and private ones to be harmed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use progressd::store::{Redis, RedisSettings};
use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::OnceCell,
};
use uuid::Uuid;

use super::{certificate::Certificate, in_time, ports::free_address, secrets};

/// Starts the server, says which process it is, and ends it when nobody holds the other end of its
/// input any more: also when the tests were killed.
const KEEPER: &str =
    "redis-server \"$@\" >&2 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait 2>/dev/null";

/// How a server is started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// What clients must know, beside a user of that password.
    pub(crate) password: Option<&'static str>,
    /// Whether it speaks TLS, and nothing else.
    pub(crate) tls: bool,
    /// Whether it is a cluster: of one server, which keeps everything, and minds where it belongs.
    pub(crate) cluster: bool,
    /// Whether a restart finds what was there before.
    pub(crate) durable: bool,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    options: Options,
    port: u16,
    certificate: Option<Certificate>,
    folder: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: u32,
    keeper: Child,
    _hold: ChildStdin,
}

static SHARED: OnceCell<RedisServer> = OnceCell::const_new();

impl RedisServer {
    /// The one that tests share who do it no harm; each with a prefix of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// A private one.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A private one, started in its own way.
    pub(crate) async fn with(options: Options) -> Self {
        // Between the moment that a port is found free and the start somebody else may take it.
        for _ in 0..5 {
            let mut server = Self {
                options,
                port: free_address().port(),
                certificate: options.tls.then(Certificate::new),
                folder: tempfile::tempdir().expect("a folder"),
                running: None,
            };
            if server.run().await {
                return server;
            }
        }
        panic!("redis-server does not start; is it installed (`scripts/test` does so)?");
    }

    /// Where it is, with the password.
    pub(crate) fn url(&self) -> String {
        self.url_of(0)
    }

    /// The same for another of its databases.
    pub(crate) fn url_of(&self, database: u8) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let login = self.options.password.map(|password| {
            secrets::register(password);
            format!("default:{password}@")
        });
        let login = login.unwrap_or_default();
        format!("{scheme}://{login}127.0.0.1:{}/{database}", self.port)
    }

    /// The file with the authority behind its certificate.
    pub(crate) fn ca(&self) -> Option<PathBuf> {
        self.certificate.as_ref().map(Certificate::cert)
    }

    /// The configuration of a server that keeps its jobs there, under this prefix.
    pub(crate) fn toml(&self, prefix: &str) -> String {
        let ca = self.ca();
        let ca = ca
            .as_deref()
            .map_or(String::new(), |ca| ca.display().to_string());
        format!(
            "store.backend = 'redis'\nstore.redis.url = '{}'\nstore.redis.prefix = '{prefix}'\nstore.redis.ca = '{ca}'\n",
            self.url()
        )
    }

    /// Settings of a store there, under this prefix.
    pub(crate) fn settings(&self, prefix: &str) -> RedisSettings {
        RedisSettings {
            url: self.url(),
            prefix: prefix.to_owned(),
            ca: self.ca(),
            timeout: Duration::from_secs(5),
            start_patience: Duration::ZERO,
            events_per_job: 1_000,
            event_bytes_per_job: 1 << 20,
        }
    }

    /// A store there, under this prefix.
    pub(crate) async fn store(&self, prefix: &str) -> Redis {
        secrets::watch_the_log();
        let opening = Redis::open(self.settings(prefix));
        in_time("a store", opening)
            .await
            .expect("a Redis that is there")
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        signal("KILL", running.process).await;
        // Its keeper ends with its input.
        drop(running._hold);
        in_time("its end", running.keeper.wait())
            .await
            .expect("a child");
    }

    /// Starts it again at the same place, with its data if it keeps any.
    pub(crate) async fn restart(&mut self) {
        assert!(self.run().await, "the port is free again");
    }

    /// Starts it again at the same place, empty.
    pub(crate) async fn restart_empty(&mut self) {
        let data = self.folder.path().join("appendonlydir");
        if data.exists() {
            std::fs::remove_dir_all(data).expect("its data");
        }
        self.restart().await;
    }

    /// Stops it in its tracks: connections stay, and nothing is answered.
    pub(crate) async fn pause(&self) {
        signal("STOP", self.process()).await;
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) {
        signal("CONT", self.process()).await;
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        in_time("a client", self.try_client())
            .await
            .expect("a client")
    }

    /// What it answers to a command: its words, parted by spaces.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().expect("a command"));
        for word in words {
            asked.arg(word);
        }
        let mut client = self.client().await;
        let answer = in_time(command, asked.query_async(&mut client)).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The arguments by which `redis-cli` finds it.
    pub(crate) fn cli_arguments(&self) -> String {
        format!("-p {}", self.port)
    }

    async fn try_client(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = match self.ca() {
            None => redis::Client::open(self.url())?,
            Some(ca) => redis::Client::build_with_tls(
                self.url(),
                redis::TlsCertificates {
                    client_tls: None,
                    root_cert: Some(std::fs::read(ca).expect("a certificate")),
                },
            )?,
        };
        // Who asks has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn process(&self) -> u32 {
        self.running.as_ref().expect("it runs").process
    }

    /// Starts it; whether it runs.
    async fn run(&mut self) -> bool {
        let mut keeper = Command::new("bash")
            .args(["-c", KEEPER, "keeper"])
            .args(self.arguments())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash");
        let hold = keeper.stdin.take().expect("a pipe");
        let output = keeper.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(output).lines();
        let process = in_time("its process", lines.next_line()).await;
        let process = process.expect("UTF-8").expect("a number");
        let process: u32 = process.parse().expect("a number");
        self.running = Some(Running {
            process,
            keeper,
            _hold: hold,
        });
        in_time("redis-server", self.answers(process)).await
    }

    /// Waits until it answers and is no other; `false` when it has ended.
    async fn answers(&self, process: u32) -> bool {
        loop {
            if !Path::new(&format!("/proc/{process}")).exists() {
                return false;
            }
            if let Ok(mut client) = self.try_client().await
                && self.is_ready(&mut client, process).await.unwrap_or(false)
            {
                return true;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn is_ready(
        &self,
        client: &mut MultiplexedConnection,
        process: u32,
    ) -> redis::RedisResult<bool> {
        let info: String = redis::cmd("INFO").query_async(client).await?;
        if !info.contains(&format!("process_id:{process}\r\n")) || info.contains("loading:1") {
            return Ok(false);
        }
        if !self.options.cluster {
            return Ok(true);
        }
        let state: String = redis::cmd("CLUSTER")
            .arg("INFO")
            .query_async(client)
            .await?;
        if state.contains("cluster_slots_assigned:0") {
            let mut add = redis::cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(0).arg(16_383);
            let () = add.query_async(client).await?;
        }
        Ok(state.contains("cluster_state:ok"))
    }

    fn arguments(&self) -> Vec<String> {
        let yes_or_no = |yes| if yes { "yes" } else { "no" };
        let mut arguments = format!(
            "--bind 127.0.0.1 --daemonize no --loglevel warning --appendonly {} --appendfsync always \
             --cluster-enabled {} --enable-debug-command yes",
            yes_or_no(self.options.durable),
            yes_or_no(self.options.cluster),
        );
        if self.options.cluster {
            let bus = free_address().port();
            arguments += &format!(" --cluster-port {bus} --cluster-config-file nodes.conf");
        }
        if let Some(password) = self.options.password {
            arguments += &format!(" --requirepass {password}");
        }
        arguments += &match &self.certificate {
            None => format!(" --port {}", self.port),
            Some(certificate) => format!(
                " --port 0 --tls-port {} --tls-auth-clients no --tls-cert-file {cert} --tls-key-file {} \
                 --tls-ca-cert-file {cert}",
                self.port,
                certificate.key().display(),
                cert = certificate.cert().display(),
            ),
        };
        let words = arguments.split_whitespace().map(str::to_owned);
        words.chain(["--save".to_owned(), String::new()]).collect()
    }
}

/// A prefix that nobody else has.
pub(crate) fn own_prefix() -> String {
    format!("test:{}:", Uuid::new_v4().simple())
}

async fn signal(name: &str, process: u32) {
    let process = process.to_string();
    let status = Command::new("kill").args(["-s", name, &process]).status();
    assert!(status.await.expect("kill is there").success());
}
