//! `slotcast admin create-operator` and `member`.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use slotcast_reservation::{
    domain::member::{Member, MemberKind},
    service::{Actor, NewOperator, OperatorEdit, Service},
    store::Page,
};

use super::Outcome;

/// Members that are read at once.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
#[command(after_help = "\
The password is the first line of --password-file, or of standard input: 10 to 128 characters.

Example:
  slotcast admin -c slotcast.toml create-operator --user-id ops --name Operator --email ops@example.com")]
pub(super) struct NewOperatorArgs {
    /// To log in with: 3 to 32 letters, digits, '.', '_' or '-'
    #[arg(long)]
    user_id: String,
    /// As people call you
    #[arg(long)]
    name: String,
    /// Where mails go
    #[arg(long)]
    email: String,
    /// Holds the password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Every member
    List,
    /// Change what a member may do
    Edit {
        /// What the member logs in with
        user_id: String,
        /// What it may do: premium members may also reserve
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Whether it runs the server
        #[arg(long, value_name = "true|false")]
        operator: Option<bool>,
        /// Whether it is shut out
        #[arg(long, value_name = "true|false")]
        blocked: Option<bool>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    General,
    Premium,
}

pub(super) async fn create_operator(service: &Service, args: NewOperatorArgs) -> Outcome {
    let password = match &args.password_file {
        Some(file) => first_line(&fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?),
        None => ask_password()?,
    };
    let operator = NewOperator { user_id: args.user_id, name: args.name, email: args.email, password };
    let member = service.create_operator(operator).await?;
    println!("{} (member {}) runs this server from now on", member.user_id, member.number);
    Ok(())
}

pub(super) async fn run(service: &Service, command: Command) -> Outcome {
    match command {
        Command::List => {
            println!("{:<32} {:<8} {:<9} {:<8} name", "user ID", "kind", "operator", "blocked");
            for member in all(service).await? {
                println!(
                    "{:<32} {:<8} {:<9} {:<8} {}",
                    member.user_id.as_str(),
                    kind_name(member.kind),
                    yes(member.is_operator),
                    yes(member.is_blocked),
                    member.name
                );
            }
            Ok(())
        }
        Command::Edit { user_id, kind, operator, blocked } => {
            let found = all(service).await?.into_iter().find(|member| member.user_id.as_str() == user_id);
            let member =
                found.ok_or_else(|| format!("no member {user_id:?}; see `slotcast admin member list`"))?;
            let kind = kind.map(|kind| match kind {
                Kind::General => MemberKind::General,
                Kind::Premium => MemberKind::Premium,
            });
            let edit = OperatorEdit { kind, is_operator: operator, is_blocked: blocked };
            let after = service.edit_member(&Actor::console(), member.number, None, edit).await?;
            println!(
                "{}: {}, operator: {}, blocked: {}",
                after.user_id,
                kind_name(after.kind),
                yes(after.is_operator),
                yes(after.is_blocked)
            );
            Ok(())
        }
    }
}

async fn all(service: &Service) -> Result<Vec<Member>, Box<dyn std::error::Error>> {
    let mut members = Vec::new();
    loop {
        let offset = u32::try_from(members.len())?;
        let page = service.members(&Actor::console(), Page { offset, limit: PAGE }).await?;
        let is_last = page.items.is_empty();
        members.extend(page.items);
        if is_last || members.len() >= page.count as usize {
            return Ok(members);
        }
    }
}

const fn kind_name(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::General => "general",
        MemberKind::Premium => "premium",
    }
}

const fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// From standard input; asked for where somebody sits there.
fn ask_password() -> io::Result<String> {
    let mut input = io::stdin().lock();
    if io::stdin().is_terminal() {
        print!("Password (10 to 128 characters; it is shown as you type): ");
        io::stdout().flush()?;
    }
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(first_line(&line))
}
