//! Status codes and their default reasons, in one table (RFC 2326 §7.1.1).

use slotcast_core::denial::Denial;

/// A status code, 100 to 599. Codes outside the table come only from peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

macro_rules! table {
    ($($name:ident $code:literal $reason:literal)*) => {
        impl Status {
            $(#[doc = concat!("`", $code, " ", $reason, "`")] pub const $name: Self = Self($code);)*

            /// The standard's reason phrase; a general one for codes outside the table.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    100..=199 => "Continue",
                    200..=299 => "OK",
                    300..=399 => "Redirect",
                    400..=499 => "Request Refused",
                    _ => "Server Error",
                }
            }
        }

        #[cfg(test)]
        const TABLE: &[Status] = &[$(Status::$name),*];
    };
}

table! {
    CONTINUE 100 "Continue"
    OK 200 "OK"
    BAD_REQUEST 400 "Bad Request"
    UNAUTHORIZED 401 "Unauthorized"
    FORBIDDEN 403 "Forbidden"
    NOT_FOUND 404 "Not Found"
    METHOD_NOT_ALLOWED 405 "Method Not Allowed"
    REQUEST_TIMEOUT 408 "Request Time-out"
    REQUEST_ENTITY_TOO_LARGE 413 "Request Entity Too Large"
    REQUEST_URI_TOO_LARGE 414 "Request-URI Too Large"
    UNSUPPORTED_MEDIA_TYPE 415 "Unsupported Media Type"
    PARAMETER_NOT_UNDERSTOOD 451 "Parameter Not Understood"
    NOT_ENOUGH_BANDWIDTH 453 "Not Enough Bandwidth"
    SESSION_NOT_FOUND 454 "Session Not Found"
    METHOD_NOT_VALID_IN_THIS_STATE 455 "Method Not Valid in This State"
    AGGREGATE_OPERATION_NOT_ALLOWED 459 "Aggregate Operation Not Allowed"
    ONLY_AGGREGATE_OPERATION_ALLOWED 460 "Only Aggregate Operation Allowed"
    UNSUPPORTED_TRANSPORT 461 "Unsupported Transport"
    INTERNAL_SERVER_ERROR 500 "Internal Server Error"
    NOT_IMPLEMENTED 501 "Not Implemented"
    SERVICE_UNAVAILABLE 503 "Service Unavailable"
    VERSION_NOT_SUPPORTED 505 "RTSP Version Not Supported"
    OPTION_NOT_SUPPORTED 551 "Option Not Supported"
}

impl Status {
    /// A code from a peer's status line; `None` outside 100..=599.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            100..=599 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// 200 to 299.
    pub const fn is_success(self) -> bool {
        matches!(self.0, 200..=299)
    }
}

/// Why something that a peer wrote is not taken. The connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What the peer's program is told.
    pub status: Status,
    /// What the person before it is told: one line.
    pub reason: &'static str,
}

impl Refused {
    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self { status: Status::BAD_REQUEST, reason }
    }
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unproven => Self::UNAUTHORIZED,
            Denial::Forbidden => Self::FORBIDDEN,
            Denial::Absent => Self::NOT_FOUND,
            Denial::Late => Self::REQUEST_TIMEOUT,
            Denial::Full => Self::NOT_ENOUGH_BANDWIDTH,
            Denial::SessionOver => Self::SESSION_NOT_FOUND,
            Denial::Unavailable => Self::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_and_every_reason_is_one_plain_line() {
        assert!(TABLE.windows(2).all(|pair| pair[0] < pair[1]));
        for status in TABLE {
            assert_eq!(Status::from_code(status.code()), Some(*status));
            assert!(status.reason().bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
        }
    }

    #[test]
    fn codes_of_peers_outside_the_table_have_a_reason_too() {
        assert_eq!(Status::from_code(462).map(Status::reason), Some("Request Refused"));
        assert_eq!(Status::from_code(99), None);
        assert_eq!(Status::from_code(600), None);
    }
}
