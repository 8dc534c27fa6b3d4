//! The end of a world: nothing goes wrong any more, and all must come to its end.

use std::time::Duration;

use invoice_router::domain::change::ChangeKind;
use invoice_router::domain::id::SubUserId;
use invoice_router::domain::retry::AfterUncertain;
use invoice_router::store::{Command, InvoiceView, PauseScope};
use tokio::time::sleep;

use crate::events::What;
use crate::model::Invoice;
use crate::relay::{Copy, Weather};
use crate::sample::{id, number as number_of, rules};
use crate::verdict;
use crate::wire::contact;
use crate::world::World;

/// What is not at its end after so long never is.
const END: Duration = Duration::from_secs(6 * 3_600);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(300);

impl World {
    /// Lets all come to its end, and judges it.
    pub(crate) async fn end(&mut self) {
        self.model().note("nothing goes wrong any more");
        self.disk.set_lag(Duration::from_millis(1));
        self.relay.set_weather(Weather::FINE);
        sleep(Duration::from_secs(120)).await;
        self.retries().await;
        sleep(Duration::from_secs(1)).await;
        self.resume(None);
        for number in 1..6 {
            let account = format!("K{number}");
            self.resume(Some(account.clone()));
            self.last_word(&account);
        }
        let mut waited = Duration::ZERO;
        while waited < END {
            sleep(LOOK).await;
            waited += LOOK;
            if self.is_all_paused() {
                // The brake on mass rejection: addresses may be dead for good.
                self.resume(None);
            }
            if !self.goes_on() {
                break;
            }
        }
        self.judge();
    }

    /// The portal's last snapshot of an account: newer than anything, and right.
    fn last_word(&mut self, account: &str) {
        let known = self.model().accounts.get(account).cloned();
        let versions = [known.as_ref(), self.portal.get(account)].into_iter().flatten();
        let newest = versions.map(|known| known.version().get()).max().unwrap_or(0);
        let mut profile = self.some_profile(account);
        // So that the end does not have to wait for the night.
        profile.schedule = profile.schedule.filter(|name| name.as_str() != "night");
        profile.sub_users.retain(|_, sub_user| !sub_user.contact.addresses.as_slice().is_empty());
        let sub_users = &profile.sub_users;
        let is_billing = |id: &SubUserId| {
            sub_users.get(id).is_some_and(|sub_user| rules().groups.contains(&sub_user.group))
        };
        profile.billing_contact = profile.billing_contact.filter(is_billing);
        if profile.main_contact.addresses.as_slice().is_empty() {
            profile.main_contact = contact(&[format!("main-0@{}.example", account.to_lowercase())]);
        }
        let change = self.change(account, newest + 3, ChangeKind::Updated(profile));
        let event = self.event(What::Change(Box::new(change)));
        self.deliver(event);
    }

    fn is_all_paused(&self) -> bool {
        match self.store().paused(&PauseScope::Everything) {
            Ok(pause) => pause.is_some(),
            Err(failure) => {
                self.model().wrong(format!("pauses cannot be read: {failure}"));
                false
            }
        }
    }

    /// Whether something has not come to its end. What is held is let go on.
    fn goes_on(&mut self) -> bool {
        let mut goes_on = false;
        for invoice in self.invoices() {
            let (account, number) =
                (invoice.issued.account.to_string(), invoice.issued.number.to_string());
            let Some(InvoiceView::Whole(whole)) = self.look(&account, &number) else {
                continue;
            };
            if verdict::rests(&whole) {
                continue;
            }
            goes_on = true;
            if whole.delivery.hold.is_some() {
                if !verdict::is_hold_explained(&invoice, &whole, self.after_uncertain()) {
                    let hold = &whole.delivery.hold;
                    self.model().wrong(format!("{number} is held, and why? {hold:?}"));
                }
                self.operate(&account, &number, Command::Release { now: false });
            }
        }
        goes_on
    }

    fn after_uncertain(&self) -> AfterUncertain {
        self.model().limits.after_uncertain
    }

    fn judge(&mut self) {
        let copies = self.relay.copies();
        let blamed = self.model().blamed.clone();
        for invoice in self.invoices() {
            let number = invoice.issued.number.as_str();
            let copies: Vec<&Copy> = copies.iter().filter(|copy| copy.number == number).collect();
            let wrong = match self.look(invoice.issued.account.as_str(), number) {
                None => vec!["it is lost".to_owned()],
                Some(InvoiceView::Tombstone { state, .. }) => {
                    self.figures.count("left as tombstones");
                    verdict::judge_tombstone(&invoice, state, &copies)
                }
                Some(InvoiceView::Whole(whole)) => {
                    verdict::judge(&invoice, &whole, &copies, &blamed, &mut self.figures)
                }
            };
            let mut model = self.model();
            for what in wrong {
                model.wrong(format!("{number}: {what}"));
            }
        }
    }

    fn invoices(&self) -> Vec<Invoice> {
        self.model().invoices.values().cloned().collect()
    }

    pub(crate) fn look(&self, account: &str, number: &str) -> Option<InvoiceView> {
        let view = self.store().invoice(&id(account), &number_of(number));
        view.unwrap_or_else(|failure| {
            self.model().wrong(format!("{number} cannot be read: {failure}"));
            None
        })
    }
}
