//! The error codes of the protocol: whose fault each is, and whether trying again may help.

use bincode::{BorrowDecode, Encode};
use serde::Serialize;

use super::message::Error;
use super::value::{Extensions, Text};

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The request was wrong.
    Caller,
    /// The daemon is busy or has a bug.
    Daemon,
    /// The host is not set up right.
    Operator,
}

/// A stable error code; `docs/protocol.md` tells what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "docs/protocol.md has one line for each")]
pub enum Code {
    Malformed,
    FrameTooLarge,
    HelloExpected,
    UnsupportedVersion,
    NotAllowed,
    Stalled,
    TooManyConnections,
    UnknownMessage,
    InvalidRequest,
    PictureEmpty,
    PictureUnsupported,
    PictureBroken,
    PictureTooLarge,
    PictureFailed,
    Busy,
    DeadlineExceeded,
    GoingAway,
    RuntimeUnavailable,
    ModelInvalid,
    LimitTooLow,
    RenewalFailed,
    InferenceFailed,
    Internal,
}

impl Code {
    /// Name, fault, and whether a retry may help: the table of `docs/protocol.md`.
    const fn row(self) -> (&'static str, Fault, bool) {
        use Fault::{Caller, Daemon, Operator};
        match self {
            Code::Malformed => ("malformed", Caller, false),
            Code::FrameTooLarge => ("frame_too_large", Caller, false),
            Code::HelloExpected => ("hello_expected", Caller, false),
            Code::UnsupportedVersion => ("unsupported_version", Caller, false),
            Code::NotAllowed => ("not_allowed", Caller, false),
            Code::Stalled => ("stalled", Caller, true),
            Code::TooManyConnections => ("too_many_connections", Daemon, true),
            Code::UnknownMessage => ("unknown_message", Caller, false),
            Code::InvalidRequest => ("invalid_request", Caller, false),
            Code::PictureEmpty => ("picture_empty", Caller, false),
            Code::PictureUnsupported => ("picture_unsupported", Caller, false),
            Code::PictureBroken => ("picture_broken", Caller, false),
            Code::PictureTooLarge => ("picture_too_large", Caller, false),
            Code::PictureFailed => ("picture_failed", Daemon, false),
            Code::Busy => ("busy", Daemon, true),
            Code::DeadlineExceeded => ("deadline_exceeded", Daemon, false),
            Code::GoingAway => ("going_away", Daemon, true),
            Code::RuntimeUnavailable => ("runtime_unavailable", Operator, false),
            Code::ModelInvalid => ("model_invalid", Operator, false),
            Code::LimitTooLow => ("limit_too_low", Operator, false),
            Code::RenewalFailed => ("renewal_failed", Operator, true),
            Code::InferenceFailed => ("inference_failed", Daemon, false),
            Code::Internal => ("internal", Daemon, false),
        }
    }

    /// The code as it is sent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        self.row().1
    }

    /// The error message with this code. `id` is `None` when the connection is meant.
    #[must_use]
    pub fn error(self, id: Option<u64>, message: impl Into<String>) -> Error {
        let (name, fault, retryable) = self.row();
        Error {
            id,
            code: Text::from(name),
            fault,
            retryable,
            retry_after_ms: None,
            message: Text(message.into()),
            extensions: Extensions::default(),
        }
    }
}
