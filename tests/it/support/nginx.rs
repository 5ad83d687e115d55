//! Debian's nginx on a free port, in front of a server.

use std::{fs, net::SocketAddr, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{in_time, ports::free_address};

/// Where Debian puts it, which is not on everybody's path.
const PROGRAM: &str = "/usr/sbin/nginx";

/// The configuration that is shipped.
pub(crate) const SHIPPED: &str = include_str!("../../../config/deploy/nginx/progressd.conf");

/// What somebody writes who knows nothing of progressd: nginx then speaks HTTP/1.0.
pub(crate) const STOCK: &str =
    "server {\n    listen 80;\n    location / { proxy_pass http://127.0.0.1:8080; }\n}\n";

/// A running nginx; killed when dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    // Before the folder that it writes to.
    _child: Child,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts it with one of the configurations above, in front of `upstream`.
    pub(crate) async fn start(configuration: &str, upstream: SocketAddr) -> Self {
        let configuration = replaced(configuration, "127.0.0.1:8080", &upstream.to_string());
        Self::start_as(&configuration).await
    }

    /// Starts it with the configuration that is shipped, in front of several nodes.
    pub(crate) async fn before(nodes: &[SocketAddr]) -> Self {
        let lines = SHIPPED.lines().map(|line| match line {
            // Whatever stands behind the address: a line for each.
            _ if line.trim_start().starts_with("server 127.0.0.1:8080") => nodes
                .iter()
                .map(|node| line.replace("127.0.0.1:8080", &node.to_string()) + "\n")
                .collect(),
            line => format!("{line}\n"),
        });
        Self::start_as(&lines.collect::<String>()).await
    }

    async fn start_as(configuration: &str) -> Self {
        // Between the moment that a port is found free and nginx's start somebody else may take it.
        for _ in 0..5 {
            if let Some(nginx) = Self::try_start(configuration).await {
                return nginx;
            }
        }
        panic!("nginx does not start; is it installed (`scripts/test` does so)?");
    }

    async fn try_start(configuration: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let site = replaced(configuration, "listen 80;", &format!("listen {address};"));
        let site = site
            .replace("/var/log/nginx/progressd.log", "access.log")
            // A test does not wait for seconds.
            .replace("4000;", "100;")
            .replace("4700;", "120;")
            .replace("5300;", "140;")
            .replace("6000;", "160;");
        let main = main_configuration();
        for (name, text) in [("nginx.conf", main), ("site.conf", site)] {
            fs::write(folder.path().join(name), text).expect("a file in the folder");
        }
        let prefix = format!("{}/", folder.path().display());
        let mut child = Command::new(PROGRAM)
            .args(["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                if child.try_wait().expect("a child").is_some() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            true
        };
        in_time("nginx", listening).await.then(|| Self {
            _child: child,
            url: format!("http://{address}"),
            address,
            folder,
        })
    }

    /// What stands in its access log.
    pub(crate) fn access_log(&self) -> String {
        fs::read_to_string(self.file("access.log")).expect("an access log")
    }

    /// What stands in its error log.
    pub(crate) fn error_log(&self) -> String {
        fs::read_to_string(self.file("error.log")).expect("an error log")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Debian's own `nginx.conf`, but for what says where things are, and for whom.
fn main_configuration() -> String {
    let debian = fs::read_to_string("/etc/nginx/nginx.conf").expect("nginx is installed");
    // Folders that it makes when it starts.
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name};\n"))
        .concat();
    let ours = [
        "user ",
        "pid ",
        "error_log ",
        "access_log ",
        "include /etc/nginx/modules-enabled/",
        "include /etc/nginx/sites-enabled/",
    ];
    let lines = debian.lines().filter(|line| {
        let line = line.trim_start();
        !ours.iter().any(|directive| line.starts_with(directive))
    });
    let text = lines.map(|line| format!("{line}\n")).collect::<String>();
    let site = format!("access_log off;\n{temporary}include site.conf;");
    // One process, so that to kill it is to end it.
    let start = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log info;\n";
    start.to_owned() + &replaced(&text, "include /etc/nginx/conf.d/*.conf;", &site)
}

/// `text` with every `from` replaced, of which there must be one at least.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the configuration");
    text.replace(from, to)
}
