//! The document around the calls: what it says of the whole, and what the calls refer to.

use utoipa::openapi::{
    Components, ComponentsBuilder, Info, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Server,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use super::{answers, bodies, schemas};

/// The document without its calls; the routes bring those.
pub(in crate::http) fn base() -> OpenApi {
    let tags = [
        (
            "jobs",
            "Creating, reporting on, and removing jobs: for workers.",
        ),
        (
            "watching",
            "Streams, polls and lists: for pages and programs that watch.",
        ),
        ("results", "What jobs came to, row by row."),
        ("server", "The server itself. Open to everybody."),
    ];
    let tags = tags.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([Server::new("/")]))
        .components(Some(components()))
        .tags(Some(tags))
        .build()
}

/// The document with the calls that the routes have brought, and their bodies.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    let mut bodies = bodies::all();
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let id = operation.operation_id.as_deref().unwrap_or_default();
        let place = bodies.iter().position(|(call, _)| *call == id);
        if let Some(place) = place {
            let (_, body) = bodies.swap_remove(place);
            operation.request_body = Some(body.into());
        }
    }
    debug_assert!(bodies.is_empty(), "a body of a call that does not exist");
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        post,
        patch,
        delete,
        ..
    } = item;
    [get, post, patch, delete].into_iter().flatten()
}

fn info() -> Info {
    InfoBuilder::new()
        .title("progressd")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(include_str!("about.md")))
        .build()
}

fn components() -> Components {
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter(schemas::all())
        .responses_from_iter(answers::named_errors());
    for (name, header) in answers::headers() {
        components = components.header(name, header);
    }
    for (name, scheme) in security_schemes() {
        components = components.security_scheme(name, scheme);
    }
    components.build()
}

/// Ways to show a credential; a call's list says which of them it takes, with the scope it needs.
/// The empty one among them is for a server that runs open.
fn security_schemes() -> [(&'static str, SecurityScheme); 4] {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key or a JWT. Scopes: `jobs:read`, `jobs:write`, `jobs:cancel`, and `admin`, which includes \
             the others. Not asked for while the server runs open.",
        ))
        .build();
    let token = "For clients that cannot set headers, `EventSource` first of all: a job's `watch_token`, or a \
        read-only token that has an hour to live at most. On read calls alone.";
    let ticket =
        "A ticket of `POST /api/v1/jobs/{id}/ticket`, within its 30 seconds: sets the cookie.";
    let cookie = "What a ticket has set: for the stream and the status of its job, so that a browser's own \
        reconnects work.";
    let query = |name: &str, description: &str| {
        SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
            name,
            description,
        )))
    };
    [
        ("bearer", SecurityScheme::Http(bearer)),
        ("token", query("token", token)),
        ("ticket", query("ticket", ticket)),
        (
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "progressd_ticket",
                cookie,
            ))),
        ),
    ]
}
