//! The printed page that restores from nothing: what it is, the code of the key, and what to type.
//!
//! Reading a sheet is [`crate::recovery_code`]'s business: only the code on it matters.

use crate::recovery_code::{self, BEGIN, END};
use holdfast_types::{ClusterName, KeyHolder, Timestamp};
use zeroize::Zeroizing;

/// What stands on a sheet beside its code.
#[derive(Clone, Debug)]
pub struct RecoverySheet<'a> {
    /// The repository's id.
    pub repository: &'a str,
    /// The deployment whose recovery points it holds.
    pub cluster: &'a ClusterName,
    /// Where the repository is.
    pub place: &'a str,
    /// Under which name the key was added.
    pub holder: &'a KeyHolder,
    /// When.
    pub created: Timestamp,
    /// Program and version that made it.
    pub program: &'a str,
    /// The least `coordinator.toml` that opens the repository with the file `sheet.txt`.
    pub config: &'a str,
}

impl RecoverySheet<'_> {
    /// The page: about 70 lines of at most 80 characters, if no name is longer.
    #[must_use]
    pub fn print(&self, key: &[u8; 32]) -> Zeroizing<String> {
        let code = recovery_code::print(key);
        let code = code.as_str();
        let config: String = self
            .config
            .lines()
            .map(|line| format!("     {line}").trim_end().to_owned() + "\n")
            .collect();
        let Self {
            repository,
            cluster,
            place,
            holder,
            created,
            program,
            config: _,
        } = self;
        Zeroizing::new(format!(
            "HOLDFAST RECOVERY SHEET                        keep on paper, away from the site
================================================================================
This key alone opens the backup repository named below, if all others are lost.
Whoever has this page and can read the repository can read every backup in it.

  repository  {repository}
  cluster     {cluster}
  place       {place}
  holder      {holder}
  made        {created} by {program}

{BEGIN}
{code}{END}

Case, spaces and dashes do not matter; I and L are read as 1, O as 0. A line
that is mistyped is named. If this page is lost, make the key worthless:
     holdfast key remove {holder} --coordinator-config FILE --confirm
A rotation of the master key makes it worthless, too: then print a new page.

TO RESTORE FROM NOTHING
 1. Install holdfast, holdfast-coordinator and holdfast-agent. Make the place
    above reachable: mount it, or copy it and correct the path in step 4. For a
    bucket set its access keys, such as AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.
 2. Type the four lines of the code into a file sheet.txt.
 3. Make identities:
     holdfast certs init pki --domain {cluster}
     holdfast certs issue --ca pki --role coordinator --name c1 \\
       --ip 127.0.0.1 --out tls/coordinator
     holdfast certs issue --ca pki --role agent --name n1 --out tls/agent
     holdfast certs issue --ca pki --role operator --name you --out tls/operator
 4. Write coordinator.toml:
{config} 5. Start the coordinator:
     holdfast-coordinator --config coordinator.toml rebuild
     holdfast-coordinator --config coordinator.toml &
 6. Start Qdrant, and an agent beside it (node = \"n1\", [tls] files in tls/agent,
    [coordinator] endpoint = \"https://127.0.0.1:6350\"):
     holdfast-agent config default > agent.toml
     holdfast-agent --config agent.toml &
 7. Restore:
     export HOLDFAST_COORDINATOR=https://127.0.0.1:6350
     export HOLDFAST_TLS_DIR=tls/operator
     holdfast backup list
     holdfast restore run latest
 8. Give the repository a key that is no page, and configure that:
     (umask 077; openssl rand -hex 32 > repository.key)
     holdfast key add --holder main --new-key-file repository.key \\
       --coordinator-config coordinator.toml
"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::RecoverySheet;
    use crate::recovery_code;
    use holdfast_types::Timestamp;

    #[test]
    fn a_sheet_is_read_again_and_fits_on_a_page() {
        let config = "name = \"c1\"\n\n[repository]\npath = \"/srv/holdfast\"\n";
        let sheet = RecoverySheet {
            repository: &"0f".repeat(16),
            cluster: &"production".parse().unwrap(),
            place: "s3://backups/holdfast",
            holder: &"safe-2026".parse().unwrap(),
            created: Timestamp::EPOCH,
            program: "holdfast 0.1.0",
            config,
        };
        let key = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let page = sheet.print(&key);
        assert_eq!(*recovery_code::parse(&page).unwrap(), key);
        assert!(page.lines().count() <= 72, "{}", page.lines().count());
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in [
            "0f0f",
            "production",
            "s3://backups/holdfast",
            "safe-2026",
            "     path =",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}
