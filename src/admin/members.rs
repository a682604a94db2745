//! `slotcast admin create-operator` and `member`.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};
use slotcast_reservation::{
    domain::{
        member::{Member, MemberKind},
        refusal::Refusal,
    },
    service::{Actor, NewOperator, OperatorEdit, Service, ServiceError},
    store::Page,
};

use super::Outcome;

/// Members that are read at once.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
#[command(after_help = "\
The password has 10 to 128 characters. It is read from the first line of --password-file, else it is asked for; where
standard input is not a terminal, its first line is taken.

Example:
  slotcast admin -c slotcast.toml create-operator --user-id ops --name Operator --email ops@example.com")]
pub(super) struct NewOperatorArgs {
    /// The name to log in with: 3 to 32 letters, digits, '.', '_' or '-'
    #[arg(long)]
    user_id: String,
    /// The operator's name, for people
    #[arg(long)]
    name: String,
    /// The address that mails go to
    #[arg(long)]
    email: String,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make the member who has this user ID the operator: name, address and password are replaced, all log-ins and tokens end
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Every member
    List,
    /// Change what a member may do
    Edit {
        /// The name that the member logs in with
        user_id: String,
        /// General members may watch; premium members may also reserve
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Whether the member may run the server over the API
        #[arg(long, value_name = "true|false")]
        operator: Option<bool>,
        /// Whether the member is blocked
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
    let user_id = args.user_id.clone();
    let operator = NewOperator {
        user_id: args.user_id,
        name: args.name,
        email: args.email,
        password,
        replace: args.replace,
    };
    let made = match service.create_operator(operator).await {
        Err(ServiceError::Refused(Refusal::Exists(_))) => {
            return Err(format!(
                "{user_id} is a member already, who may be somebody else (see `slotcast admin member list`): choose \
                 another user ID, or add --replace to make this member the operator"
            )
            .into());
        }
        made => made?,
    };
    let member = &made.member;
    println!("{} (member {}) runs this server from now on", member.user_id, member.number);
    if let Some(before) = &made.before {
        println!("replaced: name {:?} by {:?}", before.name, member.name);
        println!("replaced: address {} by {}", before.email.as_str(), member.email.as_str());
        println!("replaced: the password; every log-in and token that was there has ended");
    }
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
        if is_last || members.len() >= page.item_count as usize {
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

/// From the terminal, which does not show what is typed; else the first line of standard input.
fn ask_password() -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Password (10 to 128 characters, not shown as you type): ");
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(first_line(&line))
}
