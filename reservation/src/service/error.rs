//! Why a use case was not carried out.

use std::fmt;

use crate::{
    domain::refusal::{Refusal, Thing},
    store::{Conflict, StoreError},
};

/// What use cases come back as.
pub type Answer<T> = Result<T, ServiceError>;

/// Why a use case was not carried out.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceError {
    /// Refused, for a reason that the asker is told.
    Refused(Refusal),
    /// The database does not answer: 503, and the text is for the log.
    Store(StoreError),
    /// Something in this program or its surroundings is broken: 500, and the text is for the log.
    Internal(String),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Store(error) => error.fmt(f),
            Self::Internal(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ServiceError {}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// As whoever asked is told; what went wrong inside goes to the log.
impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal,
            ServiceError::Store(error) => {
                tracing::warn!(%error, "a request could not be answered");
                Self::Unavailable
            }
            ServiceError::Internal(error) => {
                tracing::error!(error, "a request failed");
                Self::Internal
            }
        }
    }
}

/// Conflicts that mean one thing wherever they come up are refusals; the others are the caller's to translate.
impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(Conflict::UserId) => Self::Refused(Refusal::UserIdTaken),
            StoreError::Conflict(Conflict::Email) => Self::Refused(Refusal::EmailTaken),
            StoreError::Conflict(Conflict::Channel) => Self::Refused(Refusal::Exists(Thing::Channel)),
            StoreError::Conflict(Conflict::Version(version)) => Self::Refused(Refusal::Stale { version }),
            other => Self::Store(other),
        }
    }
}
