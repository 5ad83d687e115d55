//! A real DNS server on a loopback port, with one name for every answer that mail validation can
//! meet.
//!
//! | name (and what is under it, unless it says otherwise) | answer |
//! |---|---|
//! | `mx.test`, `bulk.test`, `gmail.com`, `mailinator.com`, `xn--mller-kva.de` | an MX record |
//! | `a.test`, `aaaa.test` | no MX, one A or AAAA record |
//! | `nullmx.test`, `gmial.com` | a null MX |
//! | `empty.test` | exists without records |
//! | `servfail.test` | a server failure |
//! | `silent.test` | none, ever |
//! | everything else | NXDOMAIN |

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, Metadata, ResponseCode},
        rr::{
            LowerName, Name, RData, Record, RecordType,
            rdata::{A, AAAA, MX, SOA},
        },
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};

/// A running server; it ends when this is dropped.
pub(crate) struct TestDns {
    /// Where it listens, by UDP and TCP.
    pub(crate) addr: SocketAddr,
    queries: watch::Receiver<BTreeMap<String, usize>>,
    _server: Server<Zones>,
}

impl TestDns {
    /// Starts a server on a free port of 127.0.0.1; it answers as soon as this returns.
    pub(crate) async fn start() -> Self {
        let (udp, tcp, addr) = bind().await;
        let (sender, queries) = watch::channel(BTreeMap::new());
        let mut server = Server::new(Zones {
            queries: Arc::new(sender),
        });
        server.register_socket(udp);
        // Long enough for any test; the buffer holds a few answers of this small server.
        server.register_listener(tcp, Duration::from_secs(60), 4_096);
        Self {
            addr,
            queries,
            _server: server,
        }
    }

    /// How many questions of any type came for exactly this name (lower case, without a final dot).
    pub(crate) fn queries(&self, name: &str) -> usize {
        self.queries.borrow().get(name).copied().unwrap_or_default()
    }

    /// How many different names under this one were asked for, itself included.
    pub(crate) fn names_under(&self, name: &str) -> usize {
        count_under(&self.queries.borrow(), name)
    }

    /// Waits until that many different names under this one were asked for.
    pub(crate) async fn wait_for_names_under(&self, name: &str, count: usize) {
        self.queries
            .clone()
            .wait_for(|queries| count_under(queries, name) >= count)
            .await
            .expect("the server runs as long as this handle");
    }
}

/// The same free port for both protocols.
async fn bind() -> (UdpSocket, TcpListener, SocketAddr) {
    // A port that is free for UDP may be taken for TCP; with thousands of free ports a few tries
    // are plenty.
    for _ in 0..16 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free UDP port");
        let addr = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(addr).await {
            return (udp, tcp, addr);
        }
    }
    panic!("no port was free for both UDP and TCP");
}

fn count_under(queries: &BTreeMap<String, usize>, zone: &str) -> usize {
    queries
        .keys()
        .filter(|name| {
            name.strip_suffix(zone)
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
        .count()
}

/// What the server answers, and the book it keeps.
struct Zones {
    queries: Arc<watch::Sender<BTreeMap<String, usize>>>,
}

/// An answer for one name and type.
enum Answer {
    Records(Vec<RData>),
    Failure(ResponseCode),
    Silence,
}

fn answer(name: &str, record_type: RecordType) -> Answer {
    let is_in = |zones: &[&str]| {
        zones.iter().any(|zone| {
            name.strip_suffix(zone)
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
    };
    let only = |wanted: RecordType, data: RData| {
        Answer::Records(if record_type == wanted {
            vec![data]
        } else {
            Vec::new()
        })
    };
    if is_in(&[
        "mx.test",
        "bulk.test",
        "gmail.com",
        "mailinator.com",
        "xn--mller-kva.de",
    ]) {
        let exchange = Name::from_ascii("mail.mx.test.").expect("a valid name");
        only(RecordType::MX, RData::MX(MX::new(10, exchange)))
    } else if is_in(&["nullmx.test", "gmial.com"]) {
        only(RecordType::MX, RData::MX(MX::new(0, Name::root())))
    } else if is_in(&["a.test"]) {
        only(RecordType::A, RData::A(A(Ipv4Addr::LOCALHOST)))
    } else if is_in(&["aaaa.test"]) {
        only(RecordType::AAAA, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)))
    } else if is_in(&["empty.test"]) {
        Answer::Records(Vec::new())
    } else if is_in(&["servfail.test"]) {
        Answer::Failure(ResponseCode::ServFail)
    } else if is_in(&["silent.test"]) {
        Answer::Silence
    } else {
        Answer::Failure(ResponseCode::NXDomain)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zones {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut responses: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let unanswered = ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        });
        let Ok(info) = request.request_info() else {
            return unanswered;
        };
        let query = info.query;
        let name = plain(query.name());
        self.queries
            .send_modify(|queries| *queries.entry(name.clone()).or_default() += 1);
        let records = match answer(&name, query.query_type()) {
            Answer::Silence => return unanswered,
            Answer::Failure(code) => {
                metadata.response_code = code;
                Vec::new()
            }
            Answer::Records(data) => data,
        };
        // A TTL of 0, so that whatever is asked only once was remembered by the client itself.
        let owner = Name::from(query.name());
        let records: Vec<Record> = records
            .into_iter()
            .map(|data| Record::from_rdata(owner.clone(), 0, data))
            .collect();
        // Negative answers carry the zone's SOA (RFC 2308, 3).
        let soa =
            (records.is_empty() && metadata.response_code != ResponseCode::ServFail).then(|| {
                let host = Name::from_ascii("ns.test.").expect("a valid name");
                Record::from_rdata(
                    owner.base_name(),
                    0,
                    RData::SOA(SOA::new(host.clone(), host, 1, 60, 60, 60, 0)),
                )
            });
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &records,
            [],
            &soa,
            [],
        );
        responses
            .send_response(response)
            .await
            .unwrap_or(unanswered)
    }
}

/// Lower case and in A-label form, without the final dot.
fn plain(name: &LowerName) -> String {
    let mut text = Name::from(name).to_ascii();
    text.pop();
    text
}
