//! What to change in which proxy: short, and in the words of its own configuration.

use reqwest::header::HeaderMap;

/// Something that stands in front of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    /// nginx.
    Nginx,
    /// Apache httpd.
    Apache,
    /// Caddy.
    Caddy,
    /// HAProxy.
    Haproxy,
    /// Traefik.
    Traefik,
    /// Cloudflare.
    Cloudflare,
    /// Application Load Balancer and CloudFront of AWS.
    Aws,
}

/// What to change, for the proxies that are known to need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic {
    /// For all of them, and for those that are not in the list.
    pub(super) rule: &'static str,
    /// By proxy.
    pub(super) settings: &'static [(Proxy, &'static str)],
}

/// A topic for what stands in front of this server, as far as it says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    topic: &'static Topic,
    proxy: Option<Proxy>,
}

/// Blocks come late.
pub(super) static BUFFERING: Topic = Topic {
    rule: "let no proxy collect the bytes of an answer of the type text/event-stream",
    settings: &[
        (
            Proxy::Nginx,
            "\"proxy_buffering off;\", or remove \"proxy_ignore_headers X-Accel-Buffering\": by that header progressd \
             asks for it; and no text/event-stream in \"gzip_types\"",
        ),
        (
            Proxy::Apache,
            "no \"SetOutputFilter BUFFER\", and \"SetEnv no-gzip 1\" where mod_deflate is on",
        ),
        (
            Proxy::Caddy,
            "\"flush_interval -1\" in \"reverse_proxy\", and no \"encode\" for text/event-stream",
        ),
        (
            Proxy::Haproxy,
            "no text/event-stream in \"compression type\"",
        ),
        (
            Proxy::Traefik,
            "no \"buffering\" middleware, and text/event-stream in \"excludedContentTypes\" of \"compress\"",
        ),
        (Proxy::Cloudflare, "\"Response Buffering\" off"),
    ],
};

/// The stream comes compressed.
pub(super) static COMPRESSION: Topic = Topic {
    rule: "compress no answer of the type text/event-stream: a block waits in the compressor until there are more",
    settings: &[
        (
            Proxy::Nginx,
            "no text/event-stream in \"gzip_types\" (\"*\" includes it)",
        ),
        (
            Proxy::Apache,
            "\"SetEnv no-gzip 1\" in the location of progressd",
        ),
        (
            Proxy::Caddy,
            "a \"match\" in \"encode\" that leaves out \"header Content-Type text/event-stream*\"",
        ),
        (
            Proxy::Haproxy,
            "no text/event-stream in \"compression type\"",
        ),
        (
            Proxy::Traefik,
            "text/event-stream in \"excludedContentTypes\" of the \"compress\" middleware",
        ),
        (
            Proxy::Cloudflare,
            "keep progressd's \"Cache-Control: no-transform\" as it is, or a compression rule that is off",
        ),
    ],
};

/// The stream ends in silence.
pub(super) static READ_TIMEOUT: Topic = Topic {
    rule: "a read timeout above the time between heartbeats, \"stream.heartbeat_seconds\" of progressd (30 by default); \
           or less of that",
    settings: &[
        (
            Proxy::Nginx,
            "\"proxy_read_timeout 90s;\" (60 s by default)",
        ),
        (
            Proxy::Apache,
            "\"ProxyTimeout 90\", or \"timeout=90\" in \"ProxyPass\"",
        ),
        (
            Proxy::Caddy,
            "no \"read_timeout\" in \"transport http\", and no \"write\" under \"timeouts\"",
        ),
        (
            Proxy::Haproxy,
            "\"timeout server 90s\" and \"timeout client 90s\"",
        ),
        (
            Proxy::Traefik,
            "\"respondingTimeouts.writeTimeout = 0\" of the entry point",
        ),
        (
            Proxy::Cloudflare,
            "heartbeats every 100 s or sooner, as they are by default",
        ),
        (
            Proxy::Aws,
            "\"idle_timeout.timeout_seconds\" of the load balancer, 60 by default",
        ),
    ],
};

/// The stream ends although something is sent.
pub(super) static LENGTH: Topic = Topic {
    rule: "no limit on how long one answer may last, or one above \"stream.max_duration_seconds\" of progressd (3600)",
    settings: &[
        (
            Proxy::Nginx,
            "look into its error log: it has no such limit of its own",
        ),
        (
            Proxy::Caddy,
            "no \"write\" under \"timeouts\" of the server",
        ),
        (
            Proxy::Traefik,
            "\"respondingTimeouts.writeTimeout = 0\" of the entry point",
        ),
    ],
};

/// `Last-Event-ID` does not reach the server.
pub(super) static LAST_EVENT_ID: Topic = Topic {
    rule: "pass the request header Last-Event-ID on: without it a watcher that comes back misses events",
    settings: &[
        (
            Proxy::Nginx,
            "remove \"proxy_set_header Last-Event-ID\" and \"proxy_pass_request_headers off\"",
        ),
        (
            Proxy::Apache,
            "remove \"RequestHeader unset Last-Event-ID\"",
        ),
        (Proxy::Caddy, "remove \"header_up -Last-Event-ID\""),
        (
            Proxy::Haproxy,
            "remove \"http-request del-header Last-Event-ID\"",
        ),
        (
            Proxy::Aws,
            "CloudFront: the origin request policy \"AllViewer\"",
        ),
    ],
};

/// `Authorization` does not reach the server.
pub(super) static AUTHORIZATION: Topic = Topic {
    rule: "pass the request header Authorization on",
    settings: &[
        (
            Proxy::Nginx,
            "\"proxy_set_header Authorization $http_authorization;\", or remove the line that sets it to \"\"",
        ),
        (
            Proxy::Apache,
            "remove \"RequestHeader unset Authorization\"",
        ),
        (
            Proxy::Caddy,
            "remove \"header_up -Authorization\" and \"basic_auth\"",
        ),
        (
            Proxy::Haproxy,
            "remove \"http-request del-header Authorization\"",
        ),
        (
            Proxy::Traefik,
            "\"removeHeader = false\" in the \"basicAuth\" middleware, or none of it",
        ),
        (
            Proxy::Aws,
            "CloudFront: the origin request policy \"AllViewer\"",
        ),
    ],
};

/// The query does not reach the server.
pub(super) static QUERY: Topic = Topic {
    rule: "pass the query on: an EventSource has no other place for its token",
    settings: &[
        (
            Proxy::Nginx,
            "after a \"rewrite\" or with variables in \"proxy_pass\", append \"$is_args$args\"",
        ),
        (
            Proxy::Aws,
            "CloudFront: the origin request policy \"AllViewer\"",
        ),
    ],
};

/// A method is refused on the way.
pub(super) static METHODS: Topic = Topic {
    rule: "let GET, HEAD, POST, PATCH, DELETE and OPTIONS through",
    settings: &[
        (
            Proxy::Nginx,
            "no \"limit_except\" and no \"if ($request_method …)\" in its way",
        ),
        (
            Proxy::Apache,
            "no \"<LimitExcept>\" and no \"AllowMethods\" without them",
        ),
        (
            Proxy::Aws,
            "CloudFront: all seven methods in \"Allowed HTTP methods\"",
        ),
    ],
};

/// An answer comes from a cache.
pub(super) static CACHING: Topic = Topic {
    rule: "keep no answer of progressd: they say so themselves in Cache-Control",
    settings: &[
        (
            Proxy::Nginx,
            "no \"proxy_cache\" in the location of progressd, or at least no \"proxy_ignore_headers Cache-Control\"",
        ),
        (Proxy::Apache, "no \"CacheEnable\" for it"),
        (
            Proxy::Cloudflare,
            "a cache rule that bypasses the cache for it",
        ),
        (
            Proxy::Aws,
            "CloudFront: the cache policy \"CachingDisabled\"",
        ),
    ],
};

/// A long header is refused.
pub(super) static LONG_HEADERS: Topic = Topic {
    rule: "room for 8 KiB of request headers, as tokens of some issuers need it",
    settings: &[
        (Proxy::Nginx, "\"large_client_header_buffers 4 16k;\""),
        (Proxy::Apache, "\"LimitRequestFieldSize 16380\""),
        (Proxy::Haproxy, "\"tune.bufsize 32768\""),
    ],
};

/// HTTP/1.1 where browsers could have HTTP/2.
pub(super) static HTTP_2: Topic = Topic {
    rule: "offer HTTP/2, for which browsers want https; or watch many jobs on one stream: /api/v1/stream?tag=…",
    settings: &[
        (
            Proxy::Nginx,
            "\"listen 443 ssl http2;\" (from 1.25.1 on \"listen 443 ssl;\" and \"http2 on;\")",
        ),
        (Proxy::Apache, "mod_http2 and \"Protocols h2 http/1.1\""),
        (Proxy::Haproxy, "\"bind :443 ssl crt … alpn h2,http/1.1\""),
    ],
};

impl Proxy {
    /// Who has signed an answer.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let (server, via) = (text("server"), text("via"));
        [
            ("cloudflare", Self::Cloudflare),
            ("awselb", Self::Aws),
            ("cloudfront", Self::Aws),
            ("nginx", Self::Nginx),
            ("openresty", Self::Nginx),
            ("apache", Self::Apache),
            ("caddy", Self::Caddy),
        ]
        .into_iter()
        .find(|(word, _)| server.contains(word) || via.contains(word))
        .map(|(_, proxy)| proxy)
    }

    /// Its name.
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "Apache httpd",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
            Self::Traefik => "Traefik",
            Self::Cloudflare => "Cloudflare",
            Self::Aws => "AWS",
        }
    }

    /// Whether it usually stands at the edge, with another one behind it that it hides.
    fn hides_others(self) -> bool {
        matches!(self, Self::Cloudflare | Self::Aws)
    }
}

impl Topic {
    /// The topic for what stands in front, as far as that is known.
    pub(super) fn before(&'static self, proxy: Option<Proxy>) -> Advice {
        Advice { topic: self, proxy }
    }
}

impl Advice {
    /// The rule, then a line for each proxy that may be meant.
    pub(super) fn lines(self) -> impl Iterator<Item = String> {
        let proxy = self.proxy;
        let is_meant =
            move |named: Proxy| proxy.is_none_or(|proxy| proxy == named || proxy.hides_others());
        let settings = self.topic.settings.iter();
        let settings = settings.filter(move |(named, _)| is_meant(*named));
        let settings = settings.map(|(named, text)| format!("{}: {text}", named.name()));
        std::iter::once(self.topic.rule.to_owned()).chain(settings)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn proxies(topic: &'static Topic, server: Option<&'static str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        if let Some(server) = server {
            headers.insert("server", HeaderValue::from_static(server));
        }
        let advice = topic.before(Proxy::of(&headers));
        advice
            .lines()
            .skip(1)
            .map(|line| line.split(':').next().expect("a name").to_owned())
            .collect()
    }

    #[test]
    fn whoever_signs_its_answers_is_the_one_that_is_meant() {
        assert_eq!(proxies(&HTTP_2, Some("nginx/1.22.1")), ["nginx"]);
        assert_eq!(
            proxies(&HTTP_2, Some("Apache/2.4.62 (Debian)")),
            ["Apache httpd"]
        );
    }

    #[test]
    fn who_signs_nothing_or_hides_others_may_be_any() {
        for server in [None, Some("cloudflare"), Some("something/1")] {
            assert_eq!(
                proxies(&HTTP_2, server),
                ["nginx", "Apache httpd", "HAProxy"]
            );
        }
    }
}
