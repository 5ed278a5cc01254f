//! Record bytes: the one place that knows how bincode is set up, and where version and checksum lie.
//!
//! ```text
//!  ┌─────────┬──────────────────┬─────────────────────────┐
//!  │ version │ CRC-32C          │ payload                 │
//!  │ 1 byte  │ 4 bytes LE       │ bincode, to the end     │
//!  └─────────┴──────────────────┴─────────────────────────┘
//!  CRC-32C over: the row's key ‖ version ‖ payload
//! ```
//!
//! The key is part of the checksum, so a value that ended up under another row's key is noticed. redb does not check
//! page checksums on ordinary reads; this does, record by record.
//!
//! bincode 2 is finished: its format is frozen (`bincode::config::standard()`, variable-length little-endian integers,
//! <https://docs.rs/bincode/2.0.1/bincode/config/struct.Configuration.html>). Nothing else in the crate calls it; its
//! traits `Encode` and `Decode` are named where types are made encodable, by `record!`, in `part.rs` and by the messages
//! of the live socket.

use bincode::{BorrowDecode, Decode, Encode, config};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;
/// Largest payload in bytes. A length inside a payload that claims more is refused before memory is set aside for it.
pub const MAX_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the header has.
    #[error("it has {0} bytes, fewer than a record's header")]
    Truncated(usize),
    /// The bytes, or the key they lie under, are not those that were written.
    #[error("its checksum does not match: the record or its key was altered")]
    Checksum,
    /// A version that this program does not know.
    #[error("it has record version {0}, which this program does not know")]
    UnknownVersion(u8),
    /// The payload is no record of its version.
    #[error("its payload does not decode: {0}")]
    Payload(String),
}

/// The record's fields could not be encoded: they exceed [`MAX_PAYLOAD_BYTES`], as stored or in memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not encode: {0}")]
pub struct EncodeError(String);

fn configuration() -> impl config::Config {
    config::standard().with_limit::<MAX_PAYLOAD_BYTES>()
}

/// Most records have no more bytes, so that most are written without asking for memory twice.
const USUAL_BYTES: usize = 256;
/// Payloads from this length on are decoded once before they are stored: decoding counts what a value takes in memory,
/// which for a long list of small numbers is more than its bytes, and what exceeds the limit could not be read back.
/// Shorter ones stay below it unless an element takes 2,000 times its bytes.
const TRIAL_BYTES: usize = 2 * 1024;

/// Appends the payload of `fields`. One that would take too much memory to be read back is refused.
pub fn encode_payload<F: Encode + Decode<()>>(fields: &F, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = payload.len();
    encode_field(fields, payload)?;
    let written = payload.get(start..).unwrap_or_default();
    if (TRIAL_BYTES..=MAX_PAYLOAD_BYTES).contains(&written.len()) {
        decode_payload::<F>(written).map_err(|error| EncodeError(error.to_string()))?;
    }
    Ok(())
}

/// Appends one field to a payload.
pub fn encode_field(field: &impl Encode, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
    bincode::encode_into_std_write(field, payload, configuration())
        .map(drop)
        .map_err(|error| EncodeError(error.to_string()))
}

/// Takes one field from the front of a payload. A `&str` is lent by the payload, not copied.
pub fn decode_field<'a, F: BorrowDecode<'a, ()>>(payload: &mut &'a [u8]) -> Result<F, DecodeError> {
    let (field, read) = bincode::borrow_decode_from_slice(payload, configuration())
        .map_err(|error| DecodeError::Payload(error.to_string()))?;
    *payload = payload.get(read..).unwrap_or_default();
    Ok(field)
}

/// Refuses what follows the last field of a payload.
pub fn end_of_payload(payload: &[u8]) -> Result<(), DecodeError> {
    match payload.len() {
        0 => Ok(()),
        bytes => Err(DecodeError::Payload(format!("{bytes} bytes follow the last field"))),
    }
}

/// The fields that all of `payload` encodes.
pub fn decode_payload<F: Decode<()>>(payload: &[u8]) -> Result<F, DecodeError> {
    let (fields, read) = decode_prefix(payload)?;
    end_of_payload(payload.get(read..).unwrap_or_default()).map(|()| fields)
}

/// The value at the front of `bytes`, and how many of them it is.
pub(crate) fn decode_prefix<F: Decode<()>>(bytes: &[u8]) -> Result<(F, usize), DecodeError> {
    bincode::decode_from_slice(bytes, configuration()).map_err(|error| DecodeError::Payload(error.to_string()))
}

/// A message between processes, which never lies in a file.
pub(crate) fn encode_frame(message: &impl Encode) -> Result<Vec<u8>, EncodeError> {
    bincode::encode_to_vec(message, config::standard()).map_err(|error| EncodeError(error.to_string()))
}

/// The message at the front of `bytes`. Memory is set aside for no more than a frame may have.
pub(crate) fn decode_frame<M: Decode<()>>(bytes: &[u8]) -> Result<M, DecodeError> {
    const LIMIT: usize = 16 * 1024 * 1024;
    let limited = config::standard().with_limit::<LIMIT>();
    bincode::decode_from_slice(bytes, limited)
        .map(|(message, _)| message)
        .map_err(|error| DecodeError::Payload(error.to_string()))
}

/// What is stored under `key`: the header, and the payload that `encode` appends, written once and in place.
pub(crate) fn sealed(
    key: &[u8],
    version: u8,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.resize(HEADER_BYTES, 0);
    encode(&mut bytes)?;
    let (header, payload) = bytes.split_at_mut(HEADER_BYTES);
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(EncodeError(format!("{} bytes; at most {MAX_PAYLOAD_BYTES} are allowed", payload.len())));
    }
    let parts = std::iter::once(version).chain(checksum(key, version, payload).to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    Ok(bytes)
}

/// Unwraps what was stored under `key`: version and payload.
pub(crate) fn open<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u8, &'a [u8]), DecodeError> {
    let truncated = || DecodeError::Truncated(bytes.len());
    let (version, rest) = bytes.split_first().ok_or_else(truncated)?;
    let (stored, payload) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
    if u32::from_le_bytes(*stored) != checksum(key, *version, payload) {
        return Err(DecodeError::Checksum);
    }
    Ok((*version, payload))
}

pub(crate) fn checksum(key: &[u8], version: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), &[version]), payload)
}
