//! What is checked before a call reaches its method, and before any of its body is read.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service as Tower};

use super::Hall;
use super::connections::Peer;
use crate::pki::Role;
use crate::transport::{Fault, FaultKind, Service};

/// Where calls of sites go.
const ENVOYS: &str = "/cloister.v1.Envoys/";

/// Where calls of operators go.
const OPERATORS: &str = "/cloister.v1.Operators/";

/// The only call that is sent for as long as it takes; it watches over its own time.
const DELIVER: &str = "/cloister.v1.Envoys/Deliver";

/// Puts a [`Gate`] before the methods.
#[derive(Debug)]
pub(super) struct GateLayer<S: Service>(pub(super) Arc<Hall<S>>);

impl<S: Service> Clone for GateLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service, I> Layer<I> for GateLayer<S> {
    type Service = Gate<S, I>;

    fn layer(&self, inner: I) -> Gate<S, I> {
        Gate {
            hall: Arc::clone(&self.0),
            inner,
        }
    }
}

/// Lets through who may call what; a request that is not sent within the time of idleness ends.
#[derive(Debug)]
pub(super) struct Gate<S: Service, I> {
    hall: Arc<Hall<S>>,
    inner: I,
}

impl<S: Service, I: Clone> Clone for Gate<S, I> {
    fn clone(&self) -> Self {
        Self {
            hall: Arc::clone(&self.hall),
            inner: self.inner.clone(),
        }
    }
}

impl<S, I, B> Tower<Request<B>> for Gate<S, I>
where
    S: Service,
    I: Tower<Request<B>, Response = Response<Body>>,
    I::Future: Send + 'static,
    I::Error: Send,
{
    type Response = Response<Body>;
    type Error = I::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, I::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let peer = request.extensions().get::<Peer>();
        if let Err((who, fault)) = admit(&self.hall, peer, path) {
            self.hall.turn_away(who, fault.message.clone());
            return Box::pin(async move { Ok(Status::from(fault).into_http()) });
        }
        let idle = self.hall.limits.idle;
        let own_time = path == DELIVER;
        let call = self.inner.call(request);
        Box::pin(async move {
            if own_time {
                return call.await;
            }
            match tokio::time::timeout(idle, call).await {
                Ok(done) => done,
                Err(_) => {
                    let message = "the request was not complete, or not answered, in time";
                    let fault = Fault::new(FaultKind::Unavailable, message);
                    Ok(Status::from(fault).into_http())
                }
            }
        })
    }
}

/// Who is refused, and why.
fn admit<S: Service>(
    hall: &Hall<S>,
    peer: Option<&Peer>,
    path: &str,
) -> Result<(), (String, Fault)> {
    let Some(peer) = peer else {
        let fault = Fault::new(FaultKind::NotAuthentic, "no certificate");
        return Err(("nobody".into(), fault));
    };
    let identity = &peer.leaf.identity;
    if let Some(reason) = hall.credentials.loaded().objects_to(&peer.leaf) {
        hall.connections.close(peer.connection);
        let fault = Fault::new(FaultKind::NotAuthentic, reason);
        return Err((identity.to_string(), fault));
    }
    let may = match identity.role {
        Role::Site(_) => path.starts_with(ENVOYS),
        Role::Operator(_) => path.starts_with(OPERATORS),
        Role::Director => false,
    };
    if may {
        return Ok(());
    }
    let path: String = path
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    let message = format!("{} may not call {path}", identity.role);
    Err((
        identity.to_string(),
        Fault::new(FaultKind::NotAllowed, message),
    ))
}
