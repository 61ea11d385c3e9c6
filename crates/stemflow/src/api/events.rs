//! Server-sent events: `data:` lines, and an empty line at the end of each event.

use reqwest::Response;

use super::Status;

/// How a job stands, each time that changes.
pub(crate) struct Events {
    response: Response,
    lines: Lines,
}

impl Events {
    pub(super) fn new(response: Response) -> Self {
        Self { response, lines: Lines::default() }
    }

    /// The next one; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Option<Status> {
        loop {
            while let Some(data) = self.lines.next_event() {
                // Other kinds of events may come to be; only a status is one.
                if let Ok(status) = serde_json::from_str(&data) {
                    return Some(status);
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.lines.unread.extend_from_slice(&chunk);
        }
    }
}

/// What came, line by line.
#[derive(Default)]
struct Lines {
    unread: Vec<u8>,
    data: String,
}

impl Lines {
    /// The data of the next event that is there as a whole.
    fn next_event(&mut self) -> Option<String> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data);
            } else if line.is_empty() && !self.data.is_empty() {
                return Some(std::mem::take(&mut self.data));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events in `text`, which comes in pieces of `size` bytes.
    fn events(text: &str, size: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut events = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            lines.unread.extend_from_slice(chunk);
            while let Some(event) = lines.next_event() {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = ": hello\r\n\r\nevent: status\r\ndata: {\"é\": 1}\r\n\r\n\
            event: status\ndata: {\ndata: }\n\n:\n\ndata: cut off\n";
        for size in [1, 2, 7, 1000] {
            assert_eq!(events(text, size), [" {\"é\": 1}", " { }"], "{size}");
        }
    }
}
