// What somebody writes who knows an invoice by the generated types alone.
import type { paths } from "./api";

type Invoice =
    paths["/v1/accounts/{account}/invoices/{number}"]["get"]["responses"]["200"]["content"]["application/json"];

/** Whether it can still be sent. Each state is known, and no other: what is left over at the end is `never`. */
export function isOpen(invoice: Invoice): boolean {
    switch (invoice.state) {
        case "parked":
        case "waiting":
        case "due":
        case "sending":
        case "withheld":
        case "held":
            return true;
        case "delivered":
        case "withdrawn":
        case "undeliverable":
            return false;
        default:
            return invoice.state satisfies never;
    }
}
