//! `git-credential` as git asks it: by its protocol, and by the real git at a server that wants the token.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::{Arguments, Failed, Trial};
use support::launch::{CANARY, manifest, place, place_with};
use support::peers;
use support::program::{Place, Ran};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("git_is_answered_for_exact_hosts", git_protocol),
        peers::trial("git_clones_and_pushes_with_the_token", &["git"], git_clones),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

const GIT: &str = "secrets:
  token: {item: github-token, delivery: {runtime: {git_credential: {hosts: [\"HOST\"], username: x-access-token}}}}
  lines: {item: lines, delivery: {runtime: {git_credential: {hosts: [two.example], username: x}}}}
";

fn git_protocol() -> Outcome {
    let place = place_with(&GIT.replace("HOST", "github.com"));
    let ask = |operation: &str, input: &str| -> Result<Ran, Failed> {
        let mut command = place.reconcile();
        command.args(["git-credential", operation]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // One that does not read has left already.
        let _ = child.stdin.take().ok_or("a pipe")?.write_all(input.as_bytes());
        Ok(child.wait_with_output()?.into())
    };
    let wanted = "protocol=https\nhost=github.com\n\n";
    same("the answer", ask("get", wanted)?.ended(0)?.out, format!("username=x-access-token\npassword={CANARY}\n"))?;
    for (operation, input) in [
        ("get", "protocol=http\nhost=github.com\n\n"),
        ("get", "protocol=https\nhost=github.com.example\n\n"),
        ("get", "protocol=https\nhost=github.com\nusername=somebody\n\n"),
        ("store", "protocol=https\nhost=github.com\nusername=x\npassword=p\n\n"),
        ("erase", wanted),
        ("capability", ""),
    ] {
        same(input, ask(operation, input)?.ended(0)?.all().as_str(), "")?;
    }
    for input in ["protocol=https\nhost=github.com\r\n\n", "protocol=https\nhost=github.com\0\n\n"] {
        same("refused", ask("get", input)?.ended(1)?.says(&["git was not answered"])?.out.as_str(), "")?;
    }
    let two = ask("get", "protocol=https\nhost=two.example\n\n")?.ended(1)?.says(&["line break"])?;
    same("refused", two.out.as_str(), "")
}

/// What each request brought as its `Authorization`.
type Brought = Arc<Mutex<Vec<String>>>;

/// The repositories below a directory, by git's own server, for those who bring the token.
fn serve(directory: &Path, brought: &Brought) -> Result<u16, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (directory, brought) = (directory.to_owned(), Arc::clone(brought));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &directory, &brought);
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, directory: &Path, brought: &Brought) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let lines = reader.by_ref().lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let field = |name: &str| {
        let value =
            |line: &String| Some(line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name))?.1.to_owned());
        head.iter().find_map(value).unwrap_or_default()
    };
    let mut body = vec![0; field("Content-Length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let given = field("Authorization");
    let right = given == format!("Basic {}", STANDARD.encode(format!("x-access-token:{CANARY}")));
    if let Ok(mut brought) = brought.lock() {
        brought.push(given);
    }
    if !right {
        let refused = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"t\"\r\nContent-Length: 0";
        return write!(stream, "{refused}\r\nConnection: close\r\n\r\n");
    }
    let mut request = head.first().map(String::as_str).unwrap_or_default().split(' ');
    let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut server = Command::new("git");
    server.arg("http-backend").env("GIT_PROJECT_ROOT", directory).env("GIT_HTTP_EXPORT_ALL", "1");
    server.env("REMOTE_USER", "x-access-token").env("REQUEST_METHOD", method).env("PATH_INFO", path);
    server.env("QUERY_STRING", query).env("CONTENT_TYPE", field("Content-Type"));
    server.env("HTTP_CONTENT_ENCODING", field("Content-Encoding")).env("CONTENT_LENGTH", body.len().to_string());
    let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take();
    // A few bytes: they fit into the pipe.
    input.map(|mut input| input.write_all(&body)).transpose()?;
    let out = child.wait_with_output()?.stdout;
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n")?;
    stream.write_all(&out)
}

fn git_clones() -> Outcome {
    let mut place = place();
    for (name, value) in [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0"), ("NO_PROXY", "127.0.0.1")] {
        place.variables.insert(name.to_owned(), value.into());
    }
    let git = |place: &Place, line: &str| -> Result<Ran, Failed> {
        Ok(place.command("git").args(line.split(' ')).current_dir(&place.home).output()?.into())
    };
    let commit = |place: &Place, within: &str, message: &str| {
        git(
            place,
            &format!("-C {within} -c user.name=n -c user.email=e@example.org commit -q --allow-empty -m {message}"),
        )?
        .ended(0)
    };
    git(&place, "init -q work")?.ended(0)?;
    commit(&place, "work", "first")?;
    git(&place, "clone -q --bare work served/r.git")?.ended(0)?;
    let brought = Brought::default();
    let host = format!("127.0.0.1:{}", serve(&place.home.join("served"), &brought)?);
    // The line of the README.
    let line = ["config", "--global", "credential.helper", "!reconcile git-credential"];
    same("configured", place.command("git").args(line).status()?.success(), true)?;
    let declared = GIT.replace("HOST", &host);
    place.write_manifest(&manifest("vault: {file: {path: vault.yaml}}\n", &declared));
    // Without a word about http the token does not travel.
    git(&place, &format!("clone http://{host}/r.git refused"))?.ended(128)?.hides(&[CANARY])?;
    same("brought", brought.lock().map(|brought| brought.iter().all(String::is_empty)).ok(), Some(true))?;
    place.edit_manifest("username: x-access-token", "username: x-access-token, allow_http: true");
    git(&place, &format!("clone http://{host}/r.git cloned"))?.ended(0)?.hides(&[CANARY])?;
    same("cloned", git(&place, "-C cloned log --format=%s")?.ended(0)?.out.as_str(), "first\n")?;
    commit(&place, "cloned", "second")?;
    git(&place, "-C cloned push -q origin HEAD")?.ended(0)?.hides(&[CANARY])?;
    same("pushed", git(&place, "-C served/r.git log --format=%s")?.ended(0)?.out.as_str(), "second\nfirst\n")?;
    // git keeps nothing: the next one asks again.
    for (path, bytes) in place.files() {
        let kept = path.starts_with(&place.home) && String::from_utf8_lossy(&bytes).contains(CANARY);
        same(&path.display().to_string(), kept, false)?;
    }
    Ok(())
}
