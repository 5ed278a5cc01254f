//! Refusals arrive, and what comes after them on the same connection does too.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::{
    HEALTH, PATIENCE, start,
    support::{Server, process::Answers},
};

/// A head that announces a body of so many bytes, or in chunks.
fn head(first_line: &str, token: Option<&str>, content_type: &str, length: Option<usize>, more: &str) -> String {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = length.map_or("Transfer-Encoding: chunked".to_owned(), |length| format!("Content-Length: {length}"));
    format!("{first_line} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{token}{length}\r\n{more}\r\n")
}

/// The body as it is announced.
fn body(bytes: usize, in_chunks: bool) -> Vec<u8> {
    let plain = vec![b'x'; bytes];
    if in_chunks { [format!("{bytes:x}\r\n").as_bytes(), &plain, b"\r\n0\r\n\r\n"].concat() } else { plain }
}

/// Requests that are refused before their body is read: what they say, and the answer's status.
fn refused<'a>(token: &'a str, messages: &'a str) -> Vec<(&'a str, Option<&'a str>, &'a str, u16)> {
    let json = "application/json";
    vec![
        (messages, None, json, 401),
        (messages, Some("made-up"), json, 401),
        ("POST /api/v1/nonsense", Some(token), json, 404),
        ("PUT /api/v1/channels", Some(token), json, 405),
        ("DELETE /health", None, json, 405),
        (messages, Some(token), "text/plain", 415),
        ("POST /api/v1/auth/challenge", None, "text/plain", 415),
    ]
}

async fn log_in(server: &Server) -> (String, String) {
    let user = server.log_in(1).await;
    let channel = user.channel("general").await;
    (user.token, format!("POST /api/v1/channels/{channel}/messages"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_refused_request_with_a_body_the_connection_goes_on_or_says_that_it_does_not() {
    let (_directory, server) = start(&[]);
    let (token, messages) = log_in(&server).await;
    let mut cases = Vec::new();
    for in_chunks in [false, true] {
        for (first_line, token, content_type, status) in refused(&token, &messages) {
            for bytes in [1, 20_000, 200_000] {
                cases.push((first_line, token, content_type, bytes, in_chunks, status));
            }
        }
        cases.push((&messages, Some(&token), "application/json", 100_000, in_chunks, 413));
        cases.push((&messages, Some(&token), "application/json", 2_000_000, in_chunks, 413));
    }
    cases.push((&messages, Some(&token), "application/json", 17_000_000, false, 413));
    for (first_line, token, content_type, bytes, in_chunks, status) in cases {
        let case = format!("{first_line} {status} {bytes} {in_chunks}");
        let mut stream = Answers::of(server.dial().await);
        let length = (!in_chunks).then_some(bytes);
        stream.send(head(first_line, token, content_type, length, "").as_bytes()).await;
        stream.has_begun(Duration::from_millis(20)).await; // the body comes in a second packet, mostly after the answer
        stream.send(&body(bytes, in_chunks)).await;
        let answer = stream.next().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{case}");
        if answer.says_close() {
            assert!(bytes > 16_000_000, "{case}: that much could have been read");
            assert!(stream.next().await.is_none(), "{case}: it ends, and without a reset");
        } else {
            stream.send(HEALTH.as_bytes()).await;
            assert_eq!(stream.next().await.expect(&case).status, 200, "{case}: the next request");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_before_it_sends_is_told_at_once_and_is_not_invited_in_vain() {
    let (_directory, server) = start(&[]);
    let (token, messages) = log_in(&server).await;
    let expects = "Expect: 100-continue\r\n";
    for in_chunks in [false, true] {
        let length = (!in_chunks).then_some(20);
        for (first_line, token, content_type, status) in refused(&token, &messages) {
            let mut stream = Answers::of(server.dial().await);
            stream.send(head(first_line, token, content_type, length, expects).as_bytes()).await;
            let answer = stream.next().await.expect("an answer without the body");
            assert_eq!(answer.status, status, "{first_line}");
            assert!(answer.says_close(), "{first_line}: whether a body comes, nobody can know");
            assert!(stream.next().await.is_none(), "{first_line}");
        }
        let text = br#"{"content":"hello!"}"#;
        let mut stream = Answers::of(server.dial().await);
        stream.send(head(&messages, Some(&token), "application/json", length, expects).as_bytes()).await;
        assert_eq!(stream.next().await.unwrap().status, 100);
        if in_chunks {
            stream.send(b"14\r\n").await;
        }
        stream.send(text).await;
        if in_chunks {
            stream.send(b"\r\n0\r\n\r\n").await;
        }
        assert_eq!(stream.next().await.unwrap().status, 200);
        stream.send(HEALTH.as_bytes()).await;
        assert_eq!(stream.next().await.unwrap().status, 200);
    }
}

/// As browsers and Node do it: first everything is written, then the answer is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_writes_all_of_its_body_before_it_reads_gets_its_answer() {
    const BYTES: usize = 12_000_000; // more than the kernel takes in
    let (_directory, server) = start(&[]);
    let (token, messages) = log_in(&server).await;
    let json = "application/json";
    for (first_line, token, status) in [
        (messages.as_str(), Some(token.as_str()), 413),
        (&messages, None, 401),
        ("POST /api/v1/nonsense", None, 404),
        ("PUT /api/v1/roles", Some(&token), 405),
    ] {
        for in_chunks in [false, true] {
            let head = head(first_line, token, json, (!in_chunks).then_some(BYTES), "Connection: close\r\n");
            let (address, body) = (server.address(), body(BYTES, in_chunks));
            let said = tokio::task::spawn_blocking(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&body).expect("the server listens to the end");
                let mut said = String::new();
                stream.read_to_string(&mut said).expect("and does not hang up on the answer");
                said
            });
            let said = said.await.unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{first_line} {in_chunks}: {said}");
            assert!(said.ends_with("\"}"), "the whole of it: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_beyond_the_bound_is_refused_in_words() {
    let (_directory, server) = start(&[]);
    let long = |bytes| "x".repeat(bytes);
    let heads = [
        format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", long(40_000)),
        format!("GET /health?{} HTTP/1.1\r\nHost: x\r\n\r\n", long(40_000)),
        format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", format!("X-Many: {}\r\n", long(500)).repeat(80)),
    ];
    for head in heads {
        let mut stream = Answers::of(server.dial().await);
        stream.send(head.as_bytes()).await;
        let answer = stream.next().await.expect("an answer");
        assert_eq!(answer.status, 431);
        assert!(answer.json()["error"].as_str().unwrap().contains("32 KiB"));
        assert!(answer.says_close());
        assert!(stream.next().await.is_none());
    }
    // Where nobody will look for the end of it: a status, and no reset on the way.
    for head in [
        format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", long(200_000)),
        format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(500)),
    ] {
        let mut stream = Answers::of(server.dial().await);
        stream.send(head.as_bytes()).await;
        assert_eq!(stream.next().await.expect("an answer").status, 431);
        assert!(stream.next().await.is_none());
    }
    let mut stream = Answers::of(server.dial().await);
    for _ in 0..3 {
        stream.send(format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", long(30_000)).as_bytes()).await;
        assert_eq!(stream.next().await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_choose_is_bounded_and_harmless_in_logs_and_answers() {
    let (_directory, server) = start(&[("DECENTCOM_LOGGING__LEVEL", "info,tower_http=debug")]);
    let long = "x".repeat(8000);
    let ask = async |method: &str, path: &str, headers: &str| {
        let mut stream = Answers::of(server.dial().await);
        stream.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await;
        stream.next().await.expect("an answer")
    };
    let given = |id: &str| format!("X-Request-Id: {id}\r\n");
    let good = "a.B_c-9".repeat(9);
    assert_eq!(ask("GET", "/health", &given(&good)).await.header("x-request-id"), Some(good.as_str()));
    for bad in [&long, &"x".repeat(65), "a b", "a\u{e9}b", "<script>", "a\tb", ""] {
        let answer = ask("GET", "/health", &given(bad)).await;
        let id = answer.header("x-request-id").unwrap();
        assert!(id.len() == 36 && id != bad, "{bad:?} became {id:?}");
    }
    let twice = ask("GET", "/health", &format!("{}{}", given("one"), given("two"))).await;
    assert_eq!(twice.header("x-request-id").unwrap().len(), 36);
    ask(&long, "/health", "").await;
    ask("GET", &format!("/{long}"), &format!("User-Agent: {long}\r\nOrigin: http://{long}\r\n")).await;
    let answer = ask("GET", &format!("/api/v1/channels/x/messages?limit={long}"), "").await;
    assert!(answer.body.len() < 1000);
    let user = server.log_in(1).await;
    let (status, refused) =
        user.call(reqwest::Method::POST, "/channels", serde_json::json!({ "name": "x", "position": long })).await;
    assert_eq!(status, 422);
    assert!(refused.to_string().len() < 1000, "{refused}");
    server.says("GET").await;
    let longest = server.log().lines().map(str::len).max().unwrap();
    assert!(longest < 1200, "a line of {longest} bytes");
}

/// Desktop clients parse the body of any 200; a PUT without a body is answered like any other call, and never by silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_without_a_body_is_answered_and_its_connection_goes_on() {
    let (_directory, server) = start(&[]);
    let (token, _) = log_in(&server).await;
    for length in ["", "Content-Length: 0\r\n"] {
        let mut stream = Answers::of(server.dial().await);
        let put = format!(
            "PUT /api/v1/channels HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n{length}\r\n"
        );
        for _ in 0..2 {
            stream.send(put.as_bytes()).await;
            let answer = stream.next().await.unwrap();
            assert_eq!(answer.status, 405);
            assert!(answer.json()["error"].is_string() && answer.header("allow").is_some() && !answer.says_close());
        }
    }
}
