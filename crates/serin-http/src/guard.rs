//! Who may talk to the server from where: hosts, origins and the headers of every answer.
//!
//! A page of another site must not reach a server on this machine through a name that it points here (DNS
//! rebinding), nor post to it with the visitor's network position (CSRF).

use crate::error::ApiError;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Which hosts and origins are served.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Host names beside this machine's and private addresses; `*` allows all.
    pub hosts: Vec<String>,
    /// Origins of other sites whose pages may change things, such as `https://tools.example`; `*` allows all.
    pub origins: Vec<String>,
}

impl Allowed {
    fn host(&self, host: &str) -> bool {
        let name = without_port(host);
        let listed = |allowed: &String| {
            allowed == "*"
                || allowed.eq_ignore_ascii_case(host)
                || allowed.eq_ignore_ascii_case(name)
                || allowed.strip_prefix("*.").is_some_and(|domain| {
                    name.to_ascii_lowercase()
                        .strip_suffix(&domain.to_ascii_lowercase())
                        .is_some_and(|rest| rest.ends_with('.'))
                })
        };
        is_near(name) || self.hosts.iter().any(listed)
    }

    fn origin(&self, origin: &str, host: Option<&str>) -> bool {
        if self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else { return false };
        // A page that this server itself showed, or one of this machine.
        host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) || is_this_machine(without_port(authority))
    }
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return &host[1..=end];
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_this_machine(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// This machine, or an address of a private network.
fn is_near(name: &str) -> bool {
    is_this_machine(name)
        || match name.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_unspecified(),
            Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => false,
        }
}

fn refused(text: &'static str) -> Response {
    (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

fn refusal(allowed: &Allowed, request: &Request<Body>) -> Option<Response> {
    let of_header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = of_header(header::HOST).or_else(|| request.uri().authority().map(|host| host.as_str()));
    if !matches!(request.uri().path(), "/health" | "/version") && !host.is_some_and(|host| allowed.host(host)) {
        return Some(refused("Invalid Host header - possible DNS rebinding attack detected"));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let foreign = of_header(header::ORIGIN).is_some_and(|origin| !allowed.origin(origin, host));
    (changes && foreign).then(|| refused("Cross-origin request blocked"))
}

/// Refuses requests of foreign hosts and changes of foreign origins with 403, and adds the headers that every answer has.
pub async fn guard(State(allowed): State<Arc<Allowed>>, request: Request<Body>, next: Next) -> Response {
    if let Some(answer) = refusal(&allowed, &request) {
        return answer;
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// The path of a request, for a fallback that answers what it does not know.
pub fn unknown(method: &Method, uri: &Uri) -> ApiError {
    ApiError::mlflow("ENDPOINT_NOT_FOUND", format!("no {method} {} here", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_near_and_listed_are_served() {
        let allowed = Allowed { hosts: vec!["mlflow.example".into(), "*.corp.example".into()], origins: Vec::new() };
        for good in [
            "localhost:5000",
            "127.0.0.1",
            "[::1]:5000",
            "10.1.2.3:80",
            "192.168.0.1",
            "mlflow.example:443",
            "a.corp.example",
        ] {
            assert!(allowed.host(good), "{good}");
        }
        for bad in ["evil.example", "8.8.8.8", "mlflow.example.evil", "corp.example.evil", "evilcorp.example", ""] {
            assert!(!allowed.host(bad), "{bad}");
        }
    }

    #[test]
    fn other_sites_pages_may_not_change_things() {
        let allowed = Allowed::default();
        assert!(allowed.origin("http://localhost:3000", Some("localhost:5000")));
        assert!(allowed.origin("https://ml.example", Some("ml.example")));
        for bad in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert!(!allowed.origin(bad, Some("localhost:5000")), "{bad}");
        }
    }
}
