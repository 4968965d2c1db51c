//! A caller of the sidecar, to be run as another user: `peer-client SOCKET
//! VERB:NAME...` tries each, and answers each with a line, `ok` or the kind of
//! the error.

use std::error::Error;
use std::io::{self, Write};

use strongroom_client::Client;
use strongroom_core::{PageRequest, PutOptions, Result, SecretBytes, Select};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::connect(arguments.next().ok_or("no socket")?).await;
    let mut out = io::stdout().lock();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Ok(writeln!(out, "connect {}", error.kind().as_str())?),
    };
    for wanted in arguments {
        let (verb, name) = wanted.split_once(':').ok_or("VERB:NAME")?;
        let outcome = match attempt(&client, verb, name).await {
            Ok(()) => "ok",
            Err(error) => error.kind().as_str(),
        };
        writeln!(out, "{wanted} {outcome}")?;
    }
    Ok(())
}

async fn attempt(client: &Client, verb: &str, name: &str) -> Result<()> {
    let value = SecretBytes::copy_from(b"v")?;
    let context = [("for".to_owned(), "a test".to_owned())].into();
    let (options, page) = (PutOptions::default(), PageRequest::first(10));
    match verb {
        "get" => client.get(name, &Select::Latest).await.map(drop),
        "batch" => client.get_all(&[(name, Select::Latest)]).await?.remove(0).map(drop),
        "download" => {
            let into = &mut tokio::io::sink();
            client.download(name, &Select::Latest, into).await.map(drop)
        }
        "put" => client.put(name, &value, &options).await.map(drop),
        "upload" => client.upload(name, &mut &b"v"[..], &options).await.map(drop),
        "list" => client.list(&"acme".parse()?, false, &page).await.map(drop),
        "versions" => client.versions(name, &page).await.map(drop),
        "delete" => client.delete(name).await,
        "restore" => client.restore(name).await,
        "purge" => client.purge(name).await,
        "watch" => client.watch(&[name]).await.map(drop),
        "seal" => client.seal(name, context, &value).await.map(drop),
        "open" => client.open(name, context, &[0; 200]).await.map(drop),
        "status" => {
            let told = client.status(&[name]).await?.secrets.remove(0);
            told.error.map_or(Ok(()), Err)
        }
        "check" => client.check().await.map(drop),
        other => panic!("there is no verb {other}"),
    }
}
