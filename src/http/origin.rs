//! Where a request comes from: whose page has made it, by which name it has found the server,
//! and what is let in of that.
//!
//! With keys, a page that has none gets nowhere. An open server has only this: the browser of
//! somebody on the same machine reaches it for every page that is open there. So it answers only
//! to names that nobody else can point at it (or a foreign page could, after its own name was
//! bound to 127.0.0.1, read everything as its own), and only to pages of its own or of origins
//! that were listed; and on loopback to no proxy, which would make it public unnoticed.

mod cors;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
    response::{IntoResponse as _, Response},
};

use super::{
    ApiError, App, ErrorCode, Policy, client::Client, permit::Refused,
    streams::is_asked_by_event_source,
};
use crate::config::{AuthMode, Config, Host, Origin, TrustedProxies};

pub(super) use cors::share;

/// What a browser says of the relation between a page and the server (W3C Fetch Metadata, section 2.3).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers by which a proxy shows.
const OF_PROXIES: [HeaderName; 2] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
];

/// What is let in, whoever asks.
#[derive(Debug)]
pub struct Origins {
    allowed: Vec<Origin>,
    hosts: Vec<Host>,
    proxies: TrustedProxies,
    is_on_loopback: bool,
}

impl Origins {
    /// Takes the settings of a checked configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            allowed: config.cors.allowed_origins.clone(),
            hosts: config.server.hosts.clone(),
            proxies: config.server.trusted_proxies.clone(),
            is_on_loopback: config.server.is_on_loopback(),
        }
    }

    /// Whether the pages of that origin may use the server.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed
            .iter()
            .any(|allowed| allowed.as_str() == origin)
    }

    /// Refuses what an open server must not answer, by the way that it has come.
    fn defend_address(&self, request: &Request, host: Option<&Host>) -> Result<(), ApiError> {
        let headers = request.headers();
        if self.is_on_loopback
            && let Some(name) = OF_PROXIES.iter().find(|name| headers.contains_key(*name))
        {
            return Err(forbidden(format!(
                "An open server on loopback answers no proxy, which would let strangers in, but the request has the \
                 header {name}: configure a key under [auth]"
            )));
        }
        // Without a host, which HTTP/1.0 alone may leave out, it is no browser.
        if let Some(host) = host
            && !host.is_loopback()
            && !self.hosts.iter().any(|listed| listed.admits(host))
        {
            return Err(forbidden(format!(
                "An open server does not answer to the host {host:?}: list it in server.hosts, or configure a key \
                 under [auth]"
            )));
        }
        Ok(())
    }

    /// Refuses pages that an open server must not answer.
    fn defend_pages(
        &self,
        request: &Request,
        host: Option<&Host>,
        client: Client,
    ) -> Result<(), ApiError> {
        let headers = request.headers();
        let origins = headers.get_all(header::ORIGIN);
        let mut strangers = origins.iter().filter(|origin| !self.allows(origin));
        if let Some(origin) = strangers.find(|origin| !is_own(origin, host, client)) {
            let origin = origin.to_str().unwrap_or("?");
            return Err(forbidden(format!(
                "An open server does not answer pages of the origin {origin:?}: list it in cors.allowed_origins"
            )));
        }
        let is_listed = only_origin(headers).is_some_and(|origin| self.allows(origin));
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
        if !is_listed && sites.any(|site| site == "cross-site") {
            return Err(forbidden(
                "An open server does not answer pages of other sites: open its address directly, or list the page's \
                 origin in cors.allowed_origins",
            ));
        }
        Ok(())
    }
}

/// Lets a request in, or says what is wrong with where it comes from; answers preflights.
pub(super) async fn admit<F: Future<Output = Response>>(
    app: &App,
    policy: &Policy,
    mut request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    match look_at(app, policy, &mut request) {
        Ok(Some(answer)) => answer,
        Ok(None) => inner(request).await,
        Err(error) => error.into_response(),
    }
}

/// What [`admit`] does before the request goes on: notes who the client is, or answers at once.
fn look_at(
    app: &App,
    policy: &Policy,
    request: &mut Request,
) -> Result<Option<Response>, ApiError> {
    let origins = &policy.origins;
    let is_open = policy.authenticator.mode() == AuthMode::Open;
    let client = Client::of(request, &origins.proxies);
    let host = read_host(request)?;
    let is_public = app.views.is_public(request.uri().path());
    if is_open {
        origins.defend_address(request, host.as_ref())?;
        if !is_public {
            origins.defend_pages(request, host.as_ref(), client)?;
        }
    }
    if let Err(error) = app.usage.take_request_of_address(client) {
        // Whoever is known is told inside a stream. To find that out costs something with keys, so a flood is
        // not looked at any more.
        let is_looked_at = is_asked_by_event_source(request, &app.views)
            && (is_open || is_public || app.usage.take_look(client));
        if !is_looked_at {
            return Err(error);
        }
        request.extensions_mut().insert(Refused(error));
    }
    let is_allowed = || only_origin(request.headers()).is_some_and(|origin| origins.allows(origin));
    if cors::is_preflight(request) && (is_public || is_allowed()) {
        return Ok(Some(cors::preflight()));
    }
    request.extensions_mut().insert(client);
    Ok(None)
}

/// The origin of the page that makes the request; none when it claims several.
fn only_origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// The host that the request is for (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
///
/// # Errors
/// `INVALID_REQUEST` when there is none, although the protocol wants one, when there are several, or
/// when it is no host.
fn read_host(request: &Request) -> Result<Option<Host>, ApiError> {
    let parse = |text: &str| {
        let host = text.parse::<Host>();
        host.map_err(|_| ApiError::invalid("Host", "must be a name or an address, and a port"))
    };
    let mut values = request.headers().get_all(header::HOST).iter();
    let in_header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(parse(value.to_str().unwrap_or_default())?),
        (Some(_), Some(_)) => return Err(ApiError::invalid("Host", "must not be sent twice")),
    };
    let in_target = request.uri().authority();
    let in_target = in_target
        .map(|authority| parse(authority.as_str()))
        .transpose()?;
    match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => Ok(in_target.or(in_header)),
        Version::HTTP_11 if in_header.is_none() => {
            Err(ApiError::invalid("Host", "must not be missing"))
        }
        // A target with a host of its own wins over the header.
        Version::HTTP_11 => Ok(in_target.or(in_header)),
        _ => match (in_target, in_header) {
            (None, None) => Err(ApiError::invalid(":authority", "must not be missing")),
            (Some(target), Some(header)) if target != header => {
                Err(ApiError::invalid("Host", "must not differ from :authority"))
            }
            (target, header) => Ok(target.or(header)),
        },
    }
}

/// Whether a page that this very server has delivered makes the request.
fn is_own(origin: &HeaderValue, host: Option<&Host>, client: Client) -> bool {
    let (scheme, default_port) = if client.is_https {
        ("https://", 443)
    } else {
        ("http://", 80)
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix(scheme));
    let origin = origin.and_then(|origin| origin.parse::<Host>().ok());
    let (Some(origin), Some(host)) = (origin, host) else {
        return false;
    };
    let port = |host: &Host| host.port().unwrap_or(default_port);
    origin.name() == host.name() && port(&origin) == port(host)
}

fn forbidden(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(ErrorCode::Forbidden).because(message)
}
