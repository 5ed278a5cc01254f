//! `decentcom-server health`: asks the running server whether it is ready, for containers and scripts.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// Longer than the server itself takes to find out.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks the server that listens on `configured`. What it says, for people: `Ok` when it is ready.
pub(crate) async fn ask(configured: SocketAddr) -> Result<String, String> {
    if configured.port() == 0 {
        return Err(
            "[network] bind_address has port 0, so nobody knows where the server listens; give it a port".into()
        );
    }
    let address = SocketAddr::new(reachable(configured.ip()), configured.port());
    match timeout(PATIENCE, answer(address)).await {
        Ok(Ok((200, _))) => Ok(format!("the server on {address} is ready")),
        Ok(Ok((status, body))) => {
            let reasons = serde_json::from_slice::<Value>(&body).ok();
            let reasons = reasons.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
            Err(format!("the server on {address} is not ready: {}", reasons.unwrap_or(&format!("it answers {status}"))))
        }
        Ok(Err(problem)) => Err(format!("no server answers on {address}: {problem}")),
        Err(_) => Err(format!("the server on {address} does not answer within {} seconds", PATIENCE.as_secs())),
    }
}

/// Where to call a server that listens on every interface.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

async fn answer(address: SocketAddr) -> Result<(u16, Vec<u8>), Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/health/ready").header(HOST, address.to_string()).body(Body::empty())?;
    let answer = requests.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER_BYTES).await?;
    connection.abort();
    Ok((status, body.into()))
}
