//! `serin user`: who may use a server that runs with `--auth`.

use super::server::open;
use super::{now_ms, say};
use crate::cli::{User, UserCommand};
use anyhow::Context;
use serin_store::Resource;

pub(crate) async fn run(args: &User) -> anyhow::Result<()> {
    let store = open(&args.backend, false).await?;
    match &args.command {
        UserCommand::Add { name, admin, permission, password_stdin } => {
            let password = if *password_stdin {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).context("cannot read the password")?;
                line.trim_end_matches(['\r', '\n']).to_owned()
            } else {
                serin_store::new_password()
            };
            store.put_user(name, Some(&password), *admin, *permission, now_ms()).await?;
            say(format_args!("user {name}: {}", if *admin { "administrator" } else { permission.as_str() }));
            if !password_stdin {
                say(format_args!("password (shown once): {password}"));
            }
        }
        UserCommand::Token { name, expires_in } => {
            let now = now_ms();
            say(store.create_token(name, expires_in.map(|age| now + age), now).await?);
        }
        UserCommand::Grant { name, permission, experiment, model } => {
            let resource = match (experiment, model) {
                (Some(experiment), _) => Resource::Experiment(store.experiment_by_name(experiment).await?.id),
                (None, Some(model)) => Resource::RegisteredModel(store.registered_model(model).await?.name),
                (None, None) => anyhow::bail!("name an --experiment or a --model"),
            };
            store.grant(name, &resource, *permission).await?;
            say(format_args!("{name}: {}", permission.as_str()));
        }
        UserCommand::Remove { name } => {
            store.delete_user(name).await?;
            say(format_args!("{name} is removed; a running server believes known credentials for up to 30 s more"));
        }
        UserCommand::List => {
            for user in store.users().await? {
                let level = if user.is_admin { "administrator" } else { user.permission.as_str() };
                say(format_args!("{:<24} {level:<16} {} grants", user.name, user.grants.len()));
            }
        }
    }
    Ok(())
}
