//! What a client sends as `callback`: `{"url": "https://…", "data": …}`.

use reqwest::Url;
use serde_json::Value;

use super::Guard;

/// All of it as JSON, in bytes: it stands in the job's record.
const MOST_BYTES: usize = 8 << 10;

/// Whom to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Callback {
    pub(crate) url: Url,
    /// What the client wants to hear with it.
    pub(crate) data: Value,
}

impl Callback {
    /// Reads what was sent. `guard` is asked about addresses; where a name leads is seen when it is
    /// called.
    ///
    /// # Errors
    /// With what to do instead, if it cannot be called. The URL is not told: it may hold a password.
    pub(crate) fn read(sent: &Value, guard: Guard) -> Result<Self, String> {
        let Some(url) = sent.get("url").and_then(Value::as_str) else {
            return Err(
                r#"the callback has no URL: send {"url": "https://…", "data": …}"#.to_owned()
            );
        };
        if sent.to_string().len() > MOST_BYTES {
            return Err(format!(
                "the callback is longer than {MOST_BYTES} bytes: send what you know the job by as its data, and no more"
            ));
        }
        let url = Url::parse(url).map_err(|error| {
            format!("the callback's URL cannot be read ({error}): send one such as https://example.org/done")
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "the callback is to be told by `{}`: use http or https",
                url.scheme()
            ));
        }
        guard
            .check_host(&url)
            .map_err(|refused| format!("the callback cannot be called: {refused}"))?;
        Ok(Self { url, data: sent.get("data").cloned().unwrap_or_default() })
    }

    /// Which server it is, for the log: without what the URL may have of passwords.
    pub(crate) fn server(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PUBLIC: Guard = Guard { private: false };

    #[test]
    fn a_callback_is_a_url_and_what_the_client_wants_to_hear() {
        let sent = json!({"url": "https://me:pw@example.org/done?x=1", "data": [1, {"a": null}]});
        let callback = Callback::read(&sent, PUBLIC).unwrap();
        assert_eq!(callback.data, sent["data"]);
        assert_eq!(callback.server(), "example.org:443");
        let bare = Callback::read(&json!({"url": "http://example.org:81/"}), PUBLIC).unwrap();
        assert_eq!((bare.data.clone(), bare.server()), (Value::Null, "example.org:81".to_owned()));
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_a_next_step() {
        for (sent, part) in [
            (json!("http://example.org/"), "send {\"url\""),
            (json!({"data": 1}), "send {\"url\""),
            (json!({"url": 7}), "send {\"url\""),
            (json!({"url": "not a url"}), "send one such as https://"),
            (json!({"url": "http://"}), "send one such as https://"),
            (json!({"url": "ftp://example.org/"}), "use http or https"),
            (json!({"url": "file:///etc/passwd"}), "use http or https"),
            (json!({"url": "http://127.0.0.1/"}), "use a public one"),
            (json!({"url": "http://0x7f.1/"}), "use a public one"),
            (json!({"url": "http://[::1]/"}), "use a public one"),
            (json!({"url": "http://a/", "data": "x".repeat(9000)}), "longer than 8192 bytes"),
        ] {
            let error = Callback::read(&sent, PUBLIC).unwrap_err();
            assert!(error.contains(part), "{sent}: {error}");
        }
        let secret = Callback::read(&json!({"url": "http://me:password@:x"}), PUBLIC).unwrap_err();
        assert!(!secret.contains("password"), "{secret}");
    }
}
