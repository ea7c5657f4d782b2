//! An editor without a screen: it speaks the language server protocol with yaml-language-server over its standard
//! input and output.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

/// Node starts slowly on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A language server and what it said so far.
pub struct Editor {
    server: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    requests: u64,
    /// The last diagnostics of each document.
    diagnostics: HashMap<String, Vec<Value>>,
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Editor {
    /// Starts the server, without schemas from the network.
    pub fn start(program: &Path) -> Result<Self, Failed> {
        let mut command = Command::new(program);
        let pipes = command.arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = pipes.spawn()?;
        let input = server.stdin.take().ok_or("no standard input")?;
        let output = server.stdout.take().ok_or("no standard output")?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = receive(&mut output) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut editor = Self { server, input, messages, requests: 0, diagnostics: HashMap::new() };
        let text = json!({
            "completion": {"completionItem": {"snippetSupport": true}},
            "hover": {"contentFormat": ["markdown"]},
            "publishDiagnostics": {},
        });
        let capabilities = json!({"textDocument": text});
        editor.request("initialize", &json!({"processId": null, "rootUri": null, "capabilities": capabilities}))?;
        editor.notify("initialized", &json!({}))?;
        let on = json!({"validate": true, "hover": true, "completion": true, "schemaStore": {"enable": false}});
        editor.notify("workspace/didChangeConfiguration", &json!({"settings": {"yaml": on}}))?;
        Ok(editor)
    }

    /// Opens a document and returns its address.
    pub fn open(&mut self, path: &Path, text: &str) -> Result<String, Failed> {
        let uri = format!("file://{}", path.display());
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        self.notify("textDocument/didOpen", &json!({"textDocument": document}))?;
        Ok(uri)
    }

    /// What is underlined in a document, once the server has looked at it.
    pub fn diagnostics(&mut self, uri: &str) -> Result<Vec<Value>, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.diagnostics.remove(uri) {
                return Ok(found);
            }
            let message = self.next(deadline)?;
            self.take(message)?;
        }
    }

    /// What can stand at a position.
    pub fn complete(&mut self, uri: &str, position: (usize, usize)) -> Result<Value, Failed> {
        self.ask("textDocument/completion", uri, position)
    }

    /// What is said about a position.
    pub fn hover(&mut self, uri: &str, position: (usize, usize)) -> Result<Value, Failed> {
        self.ask("textDocument/hover", uri, position)
    }

    fn ask(&mut self, method: &str, uri: &str, (line, character): (usize, usize)) -> Result<Value, Failed> {
        let position = json!({"line": line, "character": character});
        self.request(method, &json!({"textDocument": {"uri": uri}, "position": position}))
    }

    fn request(&mut self, method: &str, parameters: &Value) -> Result<Value, Failed> {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.next(deadline)?;
            if message.get("method").is_none() && message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(format!("{method}: {error}").into()),
                    None => Ok(message["result"].clone()),
                };
            }
            self.take(message)?;
        }
    }

    fn notify(&mut self, method: &str, parameters: &Value) -> Result<(), Failed> {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}))
    }

    fn send(&mut self, message: &Value) -> Result<(), Failed> {
        let body = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(self.input.flush()?)
    }

    fn next(&mut self, deadline: Instant) -> Result<Value, Failed> {
        match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => Err("the language server does not answer".into()),
            Err(RecvTimeoutError::Disconnected) => Err("the language server ended".into()),
        }
    }

    /// Keeps diagnostics, and answers what the server asks with nothing.
    fn take(&mut self, message: Value) -> Result<(), Failed> {
        if message["method"] == "textDocument/publishDiagnostics" {
            let parameters = &message["params"];
            let uri = parameters["uri"].as_str().unwrap_or_default().to_owned();
            self.diagnostics.insert(uri, parameters["diagnostics"].as_array().cloned().unwrap_or_default());
        } else if message.get("method").is_some() && message.get("id").is_some() {
            self.send(&json!({"jsonrpc": "2.0", "id": message["id"], "result": null}))?;
        }
        Ok(())
    }
}

/// One message: headers, an empty line, and as many bytes as the header says.
fn receive(output: &mut impl BufRead) -> Option<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            header => {
                if let Some(value) = header.strip_prefix("Content-Length: ") {
                    length = value.parse().ok();
                }
            }
        }
    }
    let mut body = vec![0; length?];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
