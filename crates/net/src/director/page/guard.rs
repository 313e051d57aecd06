//! Who may ask, and what browsers are told about every answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// For pages: styles, scripts and figures of the director's own, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For the report of a run, which carries its style and its pictures in itself, and no script.
pub(super) const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                                        form-action 'none'; frame-ancestors 'none'";

const FIELDS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Turns away whoever is not here for a page of this machine.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match objection(&request) {
        Some((status, words)) => {
            let allow = (status == StatusCode::METHOD_NOT_ALLOWED)
                .then_some([(header::ALLOW, "GET, HEAD")]);
            (status, allow, words).into_response()
        }
        None => next.run(request).await,
    };
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    response
}

fn objection(request: &Request) -> Option<(StatusCode, &'static str)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some((
            StatusCode::METHOD_NOT_ALLOWED,
            "there is nothing to change here\n",
        ));
    }
    let mut named = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return Some((StatusCode::BAD_REQUEST, "name one host\n"));
    };
    let target = request.uri().authority();
    let local = host.to_str().is_ok_and(is_local)
        && target.is_none_or(|authority| is_local(authority.as_str()));
    (!local).then_some((
        StatusCode::MISDIRECTED_REQUEST,
        "this page answers to localhost and to loopback addresses only\n",
    ))
}

/// Whether a host, with or without its port, is a name or an address of this machine.
pub(super) fn is_local(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let loopback = address
                    .parse()
                    .is_ok_and(|address: Ipv6Addr| address.is_loopback());
                if !loopback {
                    return false;
                }
                ("localhost", port)
            }
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    let loopback = |address: Ipv4Addr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(loopback)
}
