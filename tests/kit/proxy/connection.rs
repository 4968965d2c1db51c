//! One client's connection, request by request.

use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::http::Message;
use super::plan::Plan;
use super::{Fault, Request, error};

/// A client.
struct Connection {
    client: BufReader<TcpStream>,
    upstream: SocketAddr,
    plan: watch::Sender<Plan>,
    number: usize,
}

/// What becomes of the connection after a request.
enum After {
    Next,
    Close,
    Reset,
}

/// Serves until it is dropped.
pub(super) async fn accept(listener: TcpListener, upstream: SocketAddr, plan: watch::Sender<Plan>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        // What fails here is a connection that its client has given up.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let mut number = 0;
        plan.send_modify(|plan| {
            number = plan.accepted;
            plan.accepted += 1;
            plan.open += 1;
        });
        let (client, plan) = (BufReader::new(stream), plan.clone());
        let mut connection = Connection { client, upstream, plan, number };
        tokio::spawn(async move {
            // What fails is the connection, as its client sees.
            let _ = connection.serve().await;
        });
    }
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let request = match Message::read_request(&mut self.client).await {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if self.plan.borrow().is_black_hole() {
                        self.hold().await;
                    }
                    return Err(error);
                }
            };
            let persistent = request.is_persistent();
            match self.pass_on(request).await? {
                After::Next if persistent => {}
                After::Next | After::Close => return self.client.shutdown().await,
                After::Reset => return self.client.get_ref().set_zero_linger(),
            }
        }
    }

    async fn pass_on(&mut self, mut request: Message) -> io::Result<After> {
        let noted = describe(&request, self.number);
        let (method, proxied) = (noted.method.clone(), noted.proxied.is_some());
        let mut arrived = (0, None);
        self.plan.send_modify(|plan| arrived = plan.arrive(noted));
        let (number, mut fault) = arrived;
        while let Some(Fault::After(gate, then)) = fault {
            gate.pass().await;
            fault = Some(*then);
        }
        if let Some(after) = self.fail(&request, fault.as_ref()).await? {
            return Ok(after);
        }
        if method == "CONNECT" {
            return self.tunnel(number).await;
        }
        if proxied {
            request.start[1] = origin_form(&request.start[1]).1;
        }
        request.leave_connection();
        let Ok(mut answer) = self.ask(&request, number).await else {
            self.client.write_all(&Message::answer(502, &[], Vec::new()).bytes()).await?;
            return Ok(After::Next);
        };
        match fault {
            Some(Fault::ResetAfterForwarding) => return Ok(After::Reset),
            Some(Fault::Truncate { bytes }) if !answer.body.is_empty() => {
                answer.announce();
                let kept = bytes.min(answer.body.len() - 1);
                let bytes = [&answer.head()[..], &answer.body[..kept]].concat();
                self.client.write_all(&bytes).await?;
                return Ok(After::Close);
            }
            Some(Fault::Rewrite(rewrite)) => {
                rewrite.apply(&mut answer.body);
                answer.announce();
            }
            Some(Fault::DelayAnswer(gate)) => {
                gate.pass().await;
                self.plan.send_modify(|plan| plan.forwarded(number));
            }
            _ => self.plan.send_modify(|plan| plan.forwarded(number)),
        }
        self.client.write_all(&answer.bytes()).await?;
        Ok(After::Next)
    }

    /// What happens instead of asking the upstream, or before.
    async fn fail(
        &mut self,
        request: &Message,
        fault: Option<&Fault>,
    ) -> io::Result<Option<After>> {
        let answer = match fault {
            Some(Fault::Status { code, body, headers }) => {
                let pair = |(key, value): &'_ (String, String)| (key.clone(), value.clone());
                let mut answer = Message::answer(*code, &[], body.clone());
                answer.headers.extend(headers.iter().map(pair));
                answer
            }
            Some(Fault::AwsError { status, code }) => {
                let (status, kind, body) = error::answer(request, *status, code);
                Message::answer(status, &[("Content-Type", kind)], body.into_bytes())
            }
            Some(Fault::Garbage) => {
                let kind = ("Content-Type", "application/x-amz-json-1.1");
                Message::answer(200, &[kind], vec![0xfe, 0x00, b'<', b'{', 0xff, b'"', 0x80])
            }
            Some(Fault::NotHttp) => {
                self.client.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await?;
                return Ok(Some(After::Close));
            }
            Some(Fault::Reset) => return Ok(Some(After::Reset)),
            Some(Fault::BlackHole) => {
                self.hold().await;
                return Ok(Some(After::Close));
            }
            Some(Fault::Delay(gate)) => {
                gate.pass().await;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.client.write_all(&answer.bytes()).await?;
        Ok(Some(After::Next))
    }

    /// Asks the upstream, by a connection of its own: one that was kept could be
    /// closed by now, and that would be a fault which nobody planned.
    async fn ask(&self, request: &Message, number: usize) -> io::Result<Message> {
        let mut upstream = BufReader::new(TcpStream::connect(self.upstream).await?);
        upstream.write_all(&request.bytes()).await?;
        let mut answer = Message::read_answer(&mut upstream, &request.start[0]).await?;
        answer.leave_connection();
        let status = answer.status()?;
        self.plan.send_modify(|plan| plan.answered(number, status));
        Ok(answer)
    }

    /// Keeps the client waiting until it closes the connection or the faults are
    /// cleared.
    async fn hold(&mut self) {
        let mut plan = self.plan.subscribe();
        let cleared = plan.borrow().cleared;
        let mut sink = [0; 4096];
        let closed = async { while self.client.read(&mut sink).await.is_ok_and(|len| len > 0) {} };
        tokio::select! {
            _ = plan.wait_for(|plan| plan.cleared != cleared) => {}
            () = closed => {}
        }
    }

    /// Carries bytes, whatever they are.
    async fn tunnel(&mut self, number: usize) -> io::Result<After> {
        let Ok(mut upstream) = TcpStream::connect(self.upstream).await else {
            self.client.write_all(&Message::answer(502, &[], Vec::new()).bytes()).await?;
            return Ok(After::Close);
        };
        self.plan.send_modify(|plan| plan.forwarded(number));
        self.client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        copy_bidirectional(&mut self.client, &mut upstream).await?;
        Ok(After::Close)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.plan.send_modify(|plan| plan.open -= 1);
    }
}

fn describe(request: &Message, connection: usize) -> Request {
    let [method, target, _] = &request.start;
    let (proxied, path) = match method.as_str() {
        "CONNECT" => (Some(target.clone()), String::new()),
        _ => origin_form(target),
    };
    let (plain, query) = path.split_once('?').unwrap_or((&path, ""));
    let operation = if let Some(target) = request.header("x-amz-target") {
        target.rsplit('.').next().unwrap_or_default().to_owned()
    } else if let Some(action) = action(query.as_bytes()).or_else(|| action(&request.body)) {
        action
    } else if plain.is_empty() {
        method.clone()
    } else {
        format!("{method} {plain}")
    };
    let (method, headers) = (method.clone(), request.headers.clone());
    let (upstream, forwarded) = (None, false);
    Request { method, path, operation, connection, proxied, upstream, forwarded, headers }
}

/// The `Action` of a form.
fn action(form: &[u8]) -> Option<String> {
    let mut fields = form.split(|byte| *byte == b'&');
    let action = fields.find_map(|field| field.strip_prefix(b"Action="))?;
    String::from_utf8(action.to_vec()).ok()
}

/// The host of a target in absolute form (RFC 9112 §3.2.2), and the rest.
fn origin_form(target: &str) -> (Option<String>, String) {
    let Some(rest) = target.strip_prefix("http://") else { return (None, target.to_owned()) };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = if rest[at..].starts_with('/') { "" } else { "/" };
    (Some(rest[..at].to_owned()), format!("{path}{}", &rest[at..]))
}
