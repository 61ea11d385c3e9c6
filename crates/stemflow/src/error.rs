//! How an error is told, and with which exit code.

/// The command was called in a way that cannot work, which only became clear after its arguments
/// had been read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Someone pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) String);

pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        2
    } else if error.is::<Interrupted>() {
        130
    } else {
        1
    }
}

/// The error and its causes. Many a library's error repeats its cause; here each is told once.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(anyhow!("connection refused"))
            .context("failed to ask: connection refused")
            .context("failed to start");
        let text = describe(&error.unwrap_err());
        assert_eq!(text, "failed to start: failed to ask: connection refused");
    }

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        assert_eq!(exit_code(&anyhow!("broken")), 1);
        assert_eq!(exit_code(&Usage("no such stage".into()).into()), 2);
        assert_eq!(exit_code(&Interrupted("the job goes on".into()).into()), 130);
    }
}
