//! Registering, logging in and out, forgotten passwords, addresses to verify.

mod log_in;
mod proofs;
mod register;

use axum::{
    Router,
    routing::{get, post},
};

use crate::Web;

#[cfg(any(debug_assertions, test))]
pub(crate) use self::{
    log_in::LogInPage,
    proofs::{PasswordPage, Stage, VerifyPage},
    register::{RegisterPage, RegisteredPage},
};

pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/register", get(register::form).post(register::register))
        .route("/register/done", get(register::done))
        .route("/login", get(log_in::form).post(log_in::log_in))
        .route("/logout", post(log_in::log_out))
        .route("/password", get(proofs::password_form).post(proofs::password))
        .route("/verify", get(proofs::verify_form).post(proofs::verify))
}
