//! Malformed requests of every sort, each made from a seed alone.

use progressd::job::Seq;
use rand::{RngExt as _, seq::IndexedRandom as _};

use super::maker::Maker;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The job that may be hit; nobody watches it.
pub(crate) const TARGET: &str = "target";

/// What somebody sends on a connection of its own.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Written one by one: each is a packet of its own, as far as the kernel lets it.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Whether nothing but a refusal, or a closed connection, is right: elsewhere chance may hit on
    /// something that is allowed.
    pub(crate) must_be_refused: bool,
    /// Whether the answer is HTTP/2.
    pub(crate) is_http2: bool,
}

impl Malformed {
    /// The request of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut maker = Maker::of(seed);
        let (bytes, must_be_refused) = match maker.below(20) {
            0 => (maker.garbage(400), false),
            1 => (maker.broken_line(), true),
            2 => (maker.broken_header(), false),
            3 => (maker.huge_header(), true),
            4 => (maker.wrong_length(), false),
            5 => (maker.smuggled(), false),
            6 => (maker.two_lengths(), true),
            7 => (maker.truncated_body(), true),
            8 => (maker.bad_chunks(), false),
            9 => (maker.bad_json(), true),
            10 | 11 => (maker.bad_lines(), false),
            12 => (maker.bad_cursor(), false),
            13 => (maker.bad_method(), true),
            14 | 15 => (maker.bad_path(), false),
            16 => (maker.bad_credential(), true),
            17 => (maker.pipelined(), false),
            18 => (maker.mutated(), false),
            _ => {
                return Self {
                    pieces: vec![PREFACE.to_vec(), maker.frames()],
                    must_be_refused: false,
                    is_http2: true,
                };
            }
        };
        Self {
            pieces: maker.cut(bytes),
            must_be_refused,
            is_http2: false,
        }
    }
}

impl Maker {
    /// A request whose head is whole and right.
    fn request(&mut self, line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-bob\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    fn with_body(&mut self, line: &str, body: &[u8]) -> Vec<u8> {
        let length = format!("Content-Length: {}\r\n", body.len());
        self.request(line, &length, body)
    }

    fn report(&mut self) -> String {
        format!("PATCH /api/v1/jobs/{TARGET}")
    }

    fn broken_line(&mut self) -> Vec<u8> {
        let line = self.pick(&[
            "GET",
            "GET /healthz",
            "GET /healthz HTTP/9.9",
            "GET /healthz HTTP/1.1 more",
            "GET  /healthz  HTTP/1.1",
            "G\u{0}T /healthz HTTP/1.1",
            "GET /heal thz HTTP/1.1",
            "GET /\u{7f} HTTP/1.1",
            "GET http:// HTTP/1.1",
            " GET /healthz HTTP/1.1",
            "HTTP/1.1 200 OK",
            "GET /healthz http/1.1",
        ]);
        format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes()
    }

    fn broken_header(&mut self) -> Vec<u8> {
        let mut header = self.garbage(60);
        header.retain(|byte| !b"\r\n".contains(byte));
        let name = self.pick(&[
            "",
            "X",
            "Host",
            "Content-Length",
            "Last-Event-ID",
            "Content-Type",
            "X-Request-Id",
        ]);
        let separator = self.pick(&[":", ": ", " : ", "", "\n ", "\r"]);
        let begin = format!(
            "GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-bob\r\n{name}{separator}"
        );
        [begin.as_bytes(), &header, b"\r\n\r\n"].concat()
    }

    fn huge_header(&mut self) -> Vec<u8> {
        if self.0.random() {
            let value = "v".repeat(17_000 + self.below(20_000));
            return self.request("GET /healthz", &format!("X-Long: {value}\r\n"), b"");
        }
        let many: String = (0..120)
            .map(|number| format!("X-{number}: 1\r\n"))
            .collect();
        self.request("GET /healthz", &many, b"")
    }

    fn wrong_length(&mut self) -> Vec<u8> {
        let length = self.pick(&[
            "-1",
            "+2",
            "0x2",
            "2 ",
            "18446744073709551616",
            "",
            "1,1",
            "2,2",
            "NaN",
            "1",
        ]);
        let line = self.report();
        self.request(&line, &format!("Content-Length: {length}\r\n"), b"{}")
    }

    fn smuggled(&mut self) -> Vec<u8> {
        let coding = self.pick(&[
            "Transfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding:\tchunked\r\nTransfer-Encoding: x",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ]);
        let line = self.report();
        let hidden = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let headers = format!("{coding}\r\nContent-Length: {}\r\n", self.below(80));
        self.request(&line, &headers, hidden.as_bytes())
    }

    fn two_lengths(&mut self) -> Vec<u8> {
        let line = self.report();
        self.request(
            &line,
            "Content-Length: 2\r\nContent-Length: 7\r\n",
            b"{}     ",
        )
    }

    fn truncated_body(&mut self) -> Vec<u8> {
        let length = 10 + self.below(1_000);
        let line = self.report();
        self.request(
            &line,
            &format!("Content-Length: {length}\r\n"),
            b"{\"step\":",
        )
    }

    fn bad_chunks(&mut self) -> Vec<u8> {
        let chunks = self.pick(&[
            "ZZ\r\n{}\r\n0\r\n\r\n",
            "2\r\n{}",
            "2\r\n{}XX0\r\n\r\n",
            "ffffffffffffffffff\r\n{}",
            "-2\r\n{}\r\n0\r\n\r\n",
            "2;a=\u{0}\r\n{}\r\n0\r\n\r\n",
            "2\n{}\n0\n\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "2\r\n{}\r\n0\r\nX",
            "\r\n\r\n",
        ]);
        let line = self.pick(&[
            "POST /api/v1/reports",
            "PATCH /api/v1/jobs/target",
            "POST /api/v1/jobs",
        ]);
        self.request(line, "Transfer-Encoding: chunked\r\n", chunks.as_bytes())
    }

    fn bad_json(&mut self) -> Vec<u8> {
        let deep = "[".repeat(500);
        let garbage = String::from_utf8_lossy(&self.garbage(50)).into_owned();
        let bodies = [
            "{\"processed_count\": -1}",
            "{\"status\": \"done\"}",
            "{\"procesed_count\": 1}",
            "{\"step\": \"a\", \"step\": 1}",
            "{\"data\": [",
            "{\"data\": {\"\\ud800\": 1}}",
            "[]",
            "\"",
            "nul",
            "{\"processed_count\": 1e400}",
            "\u{feff}{}",
            "{} {}",
            &deep,
            &format!("\u{0}{garbage}"),
        ];
        let body = self.pick(&bodies).to_owned();
        let line = self.report();
        self.with_body(&line, body.as_bytes())
    }

    fn bad_lines(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..=self.below(8) {
            match self.below(5) {
                0 => body.extend(self.garbage(80)),
                1 => body.extend(self.text().into_bytes()),
                2 => body.extend(b"{\"job_id\":\"target\",\"step\":"),
                3 => body.extend(b"{\"job_id\":\"job-1\",\"processed_count\":99999}"),
                _ => body.extend(format!("{{\"job_id\":{:?}}}", self.text()).into_bytes()),
            }
            body.extend(self.pick(&["\n", "\r\n", "\n\n", "\r", ""]).as_bytes());
        }
        self.with_body("POST /api/v1/reports", &body)
    }

    fn bad_cursor(&mut self) -> Vec<u8> {
        let beyond = (Seq::MAX.get() + 1).to_string();
        let text = self.text();
        let cursor = self
            .pick(&[
                "-1",
                "1.5",
                "0x1",
                "٣",
                "99999999999999999999",
                &beyond,
                "null",
                " 1 ",
                &text,
            ])
            .to_owned();
        if self.0.random() {
            let path = format!("GET /api/v1/jobs/{TARGET}/stream");
            return self.request(&path, &format!("Last-Event-ID: {cursor}\r\n"), b"");
        }
        let cursor = cursor.replace([' ', '\t'], "+");
        let name = self.pick(&["last_event_id", "lastEventId", "heartbeat", "wait", "after"]);
        let call = self.pick(&["stream", "status", "results", "download"]);
        let path = format!("GET /api/v1/jobs/{TARGET}/{call}?{name}={cursor}");
        self.request(&path, "", b"")
    }

    fn bad_method(&mut self) -> Vec<u8> {
        let method = self.pick(&[
            "BREW",
            "get",
            "PUT",
            "TRACE",
            "CONNECT",
            "PRI",
            "G(T",
            "DELETE\u{e9}",
            "-",
        ]);
        let path = self.pick(&["/api/v1/jobs/target/stream", "/api/v1/reports", "/healthz"]);
        self.request(&format!("{method} {path}"), "", b"")
    }

    fn bad_path(&mut self) -> Vec<u8> {
        let path = self.pick(&[
            "/api/v1/jobs/%",
            "/api/v1/jobs/%zz/stream",
            "/api/v1/jobs/%00",
            "/api/v1/jobs/%ff%fe/status",
            "/api/v1/jobs/..%2f..%2fetc%2fpasswd",
            "/api/v1/jobs/%2e%2e/job-1",
            "/api/v1//jobs",
            "//healthz",
            "/api/v1/jobs/a%0d%0aSet-Cookie:%20x",
            "/api/v1/jobs/job-1/../job-2/stream",
            "/api/v1/jobs/job%2d1/stream",
            "/api/v1/jobs?limit=99999999999999999999&status=%ff",
            "/api/v1/jobs?cursor=%00%ff&status=bogus",
            "*",
            "http://elsewhere.example/api/v1/jobs/job-1/stream",
            "/?&&==&%&a=%",
            "/api/v1/jobs/target/results?page=-1&per_page=1e9",
            "/api/v1/jobs/target/download?format=exe",
        ]);
        let method = self.pick(&["GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST"]);
        let tail = "a/".repeat(self.below(3));
        self.request(&format!("{method} {path}{tail}"), "", b"")
    }

    fn bad_credential(&mut self) -> Vec<u8> {
        let long = "A".repeat(8_000);
        let credential = self.pick(&[
            "Bearer",
            "Bearer ",
            "Bearer a.b.c",
            "Bearer eyJhbGciOiJub25lIn0.e30.",
            "Basic a2V5LWFsbDo=",
            "bearer\tkey-all",
            "Bearer key-all extra",
            "Bearer \u{0}",
            "Token key-all",
            "",
            &long,
        ]);
        let head = format!(
            "GET /api/v1/jobs/job-1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: {credential}\r\n\r\n"
        );
        head.into_bytes()
    }

    fn pipelined(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..2 + self.below(4) {
            let request = match self.below(5) {
                0 => self.bad_json(),
                1 => self.bad_path(),
                2 => self.request("GET /healthz", "", b""),
                3 => self.bad_credential(),
                _ => self.bad_lines(),
            };
            bytes.extend(request);
        }
        bytes
    }

    /// A right request of which a few bytes are not.
    fn mutated(&mut self) -> Vec<u8> {
        let line = self.report();
        let mut bytes = match self.below(3) {
            0 => self.with_body(
                &line,
                b"{\"processed_count\": 5, \"step\": \"s\", \"data\": {\"k\": [1, 2.5, null]}}",
            ),
            1 => self.with_body(
                "POST /api/v1/jobs",
                b"{\"job_id\": \"made\", \"tags\": [\"t\"]}",
            ),
            _ => self.with_body(
                "POST /api/v1/jobs/target/events",
                b"{\"event\": \"e\", \"data\": {}}",
            ),
        };
        for _ in 0..=self.below(6) {
            if bytes.len() < 2 {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.0.random(),
                1 => bytes.insert(at, self.0.random()),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }

    /// HTTP/2 frames of every type, with lengths, flags and streams by chance (RFC 9113, section 4.1).
    fn frames(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Mostly a decent beginning, so that what follows is looked at.
        if self.below(4) > 0 {
            bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        }
        for _ in 0..=self.below(12) {
            let payload = self.garbage(40);
            let length = match self.below(6) {
                0 => self.0.random_range(0..1 << 24),
                _ => payload.len() as u32,
            };
            let stream = *[0, 1, 3, 2, 0x7fff_ffff, 0xffff_ffff_u32]
                .choose(&mut self.0)
                .expect("some");
            bytes.extend(&length.to_be_bytes()[1..]);
            bytes.extend([self.below(12) as u8, self.0.random()]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(payload);
        }
        bytes
    }

    /// The bytes in up to three pieces.
    fn cut(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        if self.below(4) > 0 || bytes.len() < 3 {
            return vec![bytes];
        }
        let (first, second) = (1 + self.below(bytes.len() - 2), self.below(bytes.len()));
        let (first, second) = (first.min(second), first.max(second));
        let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
        pieces.map(<[u8]>::to_vec).into()
    }
}
