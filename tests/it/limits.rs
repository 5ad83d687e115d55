//! How much clients may hold and spend, what they are told beyond it, and that none of them can do harm.

mod bodies;
mod floods;
mod rates;
mod stalls;
mod streams;

use reqwest::{Method, RequestBuilder};

use crate::support::server::{Answer, TestServer};

/// A request through a trusted proxy, on behalf of a client at `address`.
fn on_behalf_of(server: &TestServer, address: &str, path: &str) -> RequestBuilder {
    let request = server.request(Method::GET, path);
    request.header("x-forwarded-for", address)
}

/// Repeats a request until it is refused: at a rate of one in a second none stays unrefused for long.
async fn until_refused(mut request: impl AsyncFnMut() -> Answer) -> Answer {
    for _ in 0..1_000 {
        let answer = request().await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("nothing was refused");
}
