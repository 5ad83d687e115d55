//! What every request passes on its way to the routes, and every answer on its way back.
//!
//! All of it is one service. As layers, which box and move a request once each, it took a third of the work of
//! a report.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response};
use tower_service::Service;

use super::{App, envelope, origin, tickets};

/// The routes, and what stands before them.
#[derive(Clone)]
pub(super) struct Entrance {
    app: Arc<App>,
    routes: Router,
}

impl Entrance {
    /// `routes` are whole: the header `Allow`, which they add themselves, and their fallbacks included.
    pub(super) fn new(app: Arc<App>, routes: Router) -> Self {
        Self { app, routes }
    }

    async fn answer(self, mut request: Request) -> Response {
        let Self { app, mut routes } = self;
        let policy = app.policy();
        request.extensions_mut().insert(Arc::clone(&policy));
        let route = |request| async move {
            let Ok::<_, Infallible>(response) = routes.call(request).await;
            response
        };
        // From the outside inwards.
        let carry = |request| tickets::carry_cookie(request, route);
        let admit = |request| origin::admit(&app, &policy, request, carry);
        let seal = |request| envelope::seal(&app.metrics, request, admit);
        origin::share(&app.views, &policy.origins, request, seal).await
    }
}

impl Service<Request> for Entrance {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}
