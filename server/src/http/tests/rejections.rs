//! Every way in which a request can be wrong before a handler sees it: the status, and JSON.

use axum::http::{Method, Request};

use super::*;

#[tokio::test]
async fn every_rejection_has_its_status_and_is_json() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    let messages = format!("/api/v1/channels/{}/messages", server.general(&person).await);
    let json = Some("application/json");
    let huge = vec![b'x'; 10_000_000];
    let deep = "[".repeat(60_000).into_bytes();
    let deep_inside = format!("{{\"content\":\"a\",\"x\":{}", "[".repeat(60_000)).into_bytes();
    for (method, path, content_type, body, expected) in [
        (Method::POST, messages.as_str(), json, &b"{"[..], 400),
        (Method::POST, &messages, json, b"", 400),
        (Method::POST, &messages, json, b"{\"content\":\"\xff\"}", 400),
        (Method::POST, &messages, json, b"{\"content\":\"\\ud800\"}", 400),
        (Method::POST, &messages, json, &deep, 422),
        (Method::POST, &messages, json, &deep_inside, 400),
        (Method::POST, &messages, Some("application/JSON; charset=utf-8"), b"{", 400),
        (Method::POST, &messages, json, b"{}", 422),
        (Method::POST, &messages, json, b"null", 422),
        (Method::POST, &messages, json, b"[1]", 422),
        (Method::POST, &messages, json, b"[\"text\", null]", 422), // serde would take it for the struct
        (Method::POST, &messages, json, b" \n[\"text\", []]", 422),
        (Method::POST, "/api/v1/channels", json, b"[\"x\", null, null, 0]", 422),
        (Method::POST, "/api/v1/auth/challenge", json, b"[\"x\", false]", 422),
        (Method::POST, &messages, json, b"{\"content\":\"a\",\"x\":1,\"x\":2}", 422),
        (Method::POST, &messages, json, b"{\"content\":\"a\"} {}", 400),
        (Method::POST, &messages, json, b"{\"content\":\"a\",\"attachment_ids\":{}}", 422),
        (Method::POST, "/api/v1/channels", json, b"{\"name\":\"x\",\"position\":1e400}", 400),
        (Method::POST, "/api/v1/channels", json, b"{\"name\":\"x\",\"position\":-99999999999999999999}", 422),
        (Method::POST, &messages, json, b"{\"content\":7}", 422),
        (Method::POST, &messages, json, b"{\"content\":null}", 422),
        (Method::POST, &messages, json, b"{\"content\":\"a\",\"content\":\"b\"}", 422),
        (Method::POST, &messages, json, &huge, 413),
        (Method::POST, &messages, None, b"{\"content\":\"x\"}", 415),
        (Method::POST, &messages, Some("text/plain"), b"{\"content\":\"x\"}", 415),
        (Method::POST, &messages, Some("application/x-ndjson"), b"{\"content\":\"x\"}", 415),
        (Method::POST, &messages, Some("text/x+json"), b"{\"content\":\"x\"}", 415),
        (Method::POST, &messages, Some("application/x+json"), b"{", 400),
        (Method::POST, "/api/v1/channels", json, b"{\"name\":\"x\",\"position\":2147483648}", 422),
        (Method::POST, "/api/v1/channels", json, b"{\"name\":\"x\",\"position\":1.5}", 422),
        (Method::POST, "/api/v1/auth/challenge", json, b"{\"pubkey\":[]}", 422),
        (Method::GET, "/api/v1/channels/%ff", json, b"", 400),
        (Method::GET, "/api/v1/channels/x/messages?limit=1&limit=2", json, b"", 400),
        (Method::GET, "/", json, b"", 404),
        (Method::GET, "/api/v1", json, b"", 404),
        (Method::GET, "/api/v1/channels/", json, b"", 404),
        (Method::GET, "/api/v1/nonsense", json, b"", 404),
        (Method::GET, "/api/v1/gatewayy", json, b"", 404),
        (Method::PUT, "/api/v1/channels", json, b"", 405),
        (Method::DELETE, "/health", json, b"", 405),
        (Method::TRACE, "/api/v1/roles", json, b"", 405),
    ] {
        let mut request = Request::builder().method(method.clone()).uri(path);
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = server.send(request.body(Body::from(body.to_vec())).unwrap()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(answer.status.as_u16(), expected, "{method} {path} {shown}: {}", answer.body);
        if expected == 405 {
            assert!(answer.headers.contains_key(header::ALLOW), "{method} {path}");
        }
        answer.is(expected);
    }
    assert!(server.store.list_messages(&server.general(&person).await, None, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn calls_without_a_body_accept_the_content_type_that_clients_always_send() {
    let server = Server::start().await;
    let person = server.log_in(1).await;
    server.call(Method::POST, "/members/join", Some(&person), Value::Null).await.is(200);
    server.call(Method::DELETE, "/auth/session", Some(&person), Value::Null).await.is(204);
}

#[tokio::test]
async fn browsers_may_ask_first_on_every_path() {
    for (allowed_origins, origin, expected) in [
        (vec![], "http://anywhere", Some("*")),
        (vec!["http://here".to_owned()], "http://here", Some("http://here")),
        (vec!["http://here".to_owned()], "http://there", None),
    ] {
        let server = Server::start_with(|config| config.network.allowed_origins = allowed_origins).await;
        for path in ["/health", "/api/v1/channels", "/api/v1/channels/x/messages/y", "/api/v1/auth/verify"] {
            let request = Request::builder()
                .method(Method::OPTIONS)
                .uri(path)
                .header(header::ORIGIN, origin)
                .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH")
                .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,authorization");
            let answer = server.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
            let allowed = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.map(|value| value.to_str().unwrap()), expected);
            let text = |name| answer.headers[name].to_str().unwrap().to_lowercase();
            for method in ["get", "post", "put", "patch", "delete", "options"] {
                assert!(text(header::ACCESS_CONTROL_ALLOW_METHODS).contains(method));
            }
            assert!(text(header::ACCESS_CONTROL_ALLOW_HEADERS).contains("authorization"));
        }
    }
}
