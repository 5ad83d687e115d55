//! What every request passes on its way to the routes, and every answer on its way back.
//!
//! One service and not a layer for each part: a layer boxes and moves every request once more, which for a
//! report out of a stream of them was a third of all the work.

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
pub(super) struct Front {
    app: Arc<App>,
    routes: Router,
}

impl Front {
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

impl Service<Request> for Front {
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
