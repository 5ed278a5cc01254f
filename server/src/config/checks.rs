//! What single values have to be, beyond their type.

use std::net::{IpAddr, SocketAddr};

use ed25519_dalek::VerifyingKey;
use url::Url;

/// Longest base58 text of 32 bytes.
const MAX_BASE58_CHARACTERS: usize = 44;
/// The levels of a log filter, from none to all.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Where pages that call the server come from: the web, and the webviews that desktop and mobile clients are made with.
const ORIGIN_SCHEMES: [&str; 4] = ["http", "https", "tauri", "capacitor"];

/// The Ed25519 key in `text`, which must be its only spelling in base58. Keys of small order are none: anybody could sign
/// for them.
pub(crate) fn public_key(text: &str) -> Option<VerifyingKey> {
    if text.len() > MAX_BASE58_CHARACTERS {
        return None;
    }
    let bytes: [u8; 32] = bs58::decode(text).into_vec().ok()?.try_into().ok()?;
    let key = VerifyingKey::from_bytes(&bytes).ok()?;
    (!key.is_weak() && bs58::encode(key.as_bytes()).into_string() == text).then_some(key)
}

/// Whether a browser may send `text` as `Origin`, letter for letter; else, what is wrong with it.
pub(super) fn origin(text: &str) -> Result<(), String> {
    let form = "an origin is scheme://host or scheme://host:port, such as `https://chat.example`";
    let url = Url::parse(text).map_err(|error| format!("{error}; {form}"))?;
    if !ORIGIN_SCHEMES.contains(&url.scheme()) {
        return Err(format!("its scheme is none of {}", ORIGIN_SCHEMES.join(", ")));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("it has no host; {form}"))?;
    // `*` is a character like others to the parser, and no pattern to us.
    if host.contains('*') {
        return Err("patterns are not understood; list each origin, or none to allow all".into());
    }
    if url.port() == Some(0) {
        return Err("nothing is served at port 0".into());
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default(); // none where it is the scheme's own
    let sent = format!("{}://{host}{port}", url.scheme());
    if sent == text { Ok(()) } else { Err(format!("browsers send it as `{sent}`")) }
}

/// A log filter without blanks. A word that is no level is refused: the filter would take it for the name of a target, and
/// log nothing of all others.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        // Of `target[span{field=value}]=level`, the level stands behind the bracket.
        let after_span = directive.rsplit_once(']').map_or(*directive, |(_, rest)| rest);
        let level = match after_span.split_once('=') {
            Some((_, level)) => level,
            None if directive.contains(['[', ']']) => "",
            None => directive,
        };
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let known = LEVELS.join(", ");
            return Err(format!(
                "has `{directive}`: a level is {known}; or write target=level, such as `info,sqlx=debug`"
            ));
        }
    }
    Ok(directives.join(","))
}

/// Whether two listeners would want the same port of the same address.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `[::]` takes IPv4's ports too.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    one.port() != 0 && one.port() == other.port() && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}
