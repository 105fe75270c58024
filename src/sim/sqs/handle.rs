//! Receipt handles: opaque to clients, new at each delivery, recognisable when old, refused when made up.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::error::{ApiError, ErrorKind};

/// AWS's handles start with "AQEB", which is these three bytes.
const PREFIX: [u8; 3] = [1, 1, 1];
const LENGTH: usize = 3 + 8 + 8 + 4 + 4;

/// Which delivery of which message of which queue a receipt handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    /// The queue's own number, so that another queue's handle is refused.
    pub queue: u64,
    /// The message within the queue.
    pub key: u64,
    /// The message's receive count at this delivery.
    pub delivery: u32,
}

impl Handle {
    pub fn encode(self) -> String {
        let mut bytes = [0; LENGTH];
        bytes[..3].copy_from_slice(&PREFIX);
        bytes[3..11].copy_from_slice(&self.queue.to_be_bytes());
        bytes[11..19].copy_from_slice(&self.key.to_be_bytes());
        bytes[19..23].copy_from_slice(&self.delivery.to_be_bytes());
        let check = checksum(&bytes[..23]);
        bytes[23..].copy_from_slice(&check.to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// # Errors
    /// `ReceiptHandleIsInvalid` for anything that `queue` never gave out.
    pub fn decode(text: &str, queue: u64) -> Result<Self, ApiError> {
        Self::read(text).filter(|handle| handle.queue == queue).ok_or_else(|| {
            ApiError::new(
                ErrorKind::ReceiptHandleIsInvalid,
                format!("The input receipt handle \"{text}\" is not a valid receipt handle."),
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = STANDARD.decode(text).ok()?.try_into().ok()?;
        let check = u32::from_be_bytes(bytes[23..].try_into().ok()?);
        (bytes.starts_with(&PREFIX) && check == checksum(&bytes[..23])).then_some(Self {
            queue: u64::from_be_bytes(bytes[3..11].try_into().ok()?),
            key: u64::from_be_bytes(bytes[11..19].try_into().ok()?),
            delivery: u32::from_be_bytes(bytes[19..23].try_into().ok()?),
        })
    }
}

/// FNV-1a: against typing errors, not against forgers.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_back_as_it_went_out() {
        let handle = Handle { queue: 7, key: 42, delivery: 3 };
        assert_eq!(Handle::decode(&handle.encode(), 7), Ok(handle));
        assert!(handle.encode().starts_with("AQEB"));
    }

    #[test]
    fn garbage_damage_and_another_queues_handle_are_refused() {
        let text = Handle { queue: 7, key: 42, delivery: 3 }.encode();
        let damaged = text.replacen('A', "B", 3);
        for bad in ["", "garbage", "AQEB", damaged.as_str()] {
            assert_eq!(Handle::decode(bad, 7).unwrap_err().kind, ErrorKind::ReceiptHandleIsInvalid, "{bad}");
        }
        assert!(Handle::decode(&text, 8).is_err());
    }
}
