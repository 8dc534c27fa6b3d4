#!/usr/bin/env php
<?php
/*
Pushes events and documents to invoice-router. Needs PHP 8.1 and its extension curl, which tells an answer from
no answer, bounds the whole exchange and follows no redirects; PHP's streams do none of these.

    client.php URL SECRET_FILE event FILE              an event, as JSON
    client.php URL SECRET_FILE document FILE           a document, before the invoice that names its digest
    client.php URL SECRET_FILE invoice FILE DOCUMENT…  an invoice's documents, then its event

Standard output has the last answer to each request as it came, standard error what it means. Exit code:
0 accepted · 1 refused, and the same again would be · 2 usage · 3 gave up: run it again later.

What trips people up before there is a FILE:
- Take the account's next version and read its data under one row lock, and write the event into an outbox in
  the same transaction (README.md, beside the events). Otherwise a change overtakes another, or is never told.
- Where there is no counter, the version is max(last + 1, Unix milliseconds), kept with the account: it must
  rise even if the clock is put back. The small events need versions without gaps, so send account.updated only.
- Ids and numbers are strings, and so are amounts ("119.00"): PDO hands out integers, json_encode(0.1 + 0.2)
  more digits than a currency has, and an array's key "1001" is an integer by itself. Cast with (string).
- The event's own time-stamp says when the change was made, with its offset: gmdate('Y-m-d\TH:i:s\Z').
- json_encode returns false for text that is not UTF-8, unless it is given JSON_THROW_ON_ERROR; and an empty
  array becomes [], which is right for sub_users and wrong for an object: leave that out.
*/

declare(strict_types=1);

const ACCEPTED = 0;
const REFUSED = 1;
const USAGE = 2;
const GAVE_UP = 3;
const ATTEMPTS = 5;
// Doubles with each attempt.
const FIRST_DELAY_SECONDS = 1;
// Whoever asks for more is asked again by the next run.
const LONGEST_DELAY_SECONDS = 300;
const CONNECT_SECONDS = 10;
// The daemon gives a body 70 s.
const TIME_OUT_SECONDS = 75;

const MEANINGS = [
    'applied' => 'it is in force',
    'stored' => 'the document is there for the invoice that names it',
    'duplicate' => 'it was known already, and nothing happened twice',
    'stale' => 'nothing changed: a newer version is stored, or the invoice was withdrawn before it was issued',
    'parked' => 'it is kept until its account comes; there is no need to send it again',
];

final class Client
{
    private string $url;

    /** @param string[] $secrets */
    public function __construct(string $url, private array $secrets)
    {
        if (preg_match('~^https?://[^/?#]+[^?#]*$~', $url) !== 1) {
            throw new InvalidArgumentException("$url is no http or https URL");
        }
        $this->url = rtrim($url, '/');
    }

    /**
     * An event. $body is what json_encode made once: these bytes are signed, and these bytes are sent. A
     * framework that is handed the array instead (Guzzle's 'json') encodes it again, and differently.
     */
    public function push(string $body, ?string $webhookId = null, ?callable $fillGap = null): int
    {
        // The id belongs to the event, not to the attempt: it is how a repetition is known. An outbox has it in
        // the event's row; the digest does as well, since the same bytes get the same id in each run.
        $webhookId ??= 'evt_' . substr(hash('sha256', $body), 0, 32);
        return $this->send('POST', '/v1/events', 'application/json', $webhookId, $body, $body, $fillGap);
    }

    /**
     * A document's bytes. Render it once and keep them: a PDF that is rendered again has another digest, which
     * makes it another document and the event another invoice (409 invoice_conflict).
     */
    public function upload(string $document): int
    {
        // What is signed are the 64 digits: the libraries cannot sign bytes that are no text.
        $digest = hash('sha256', $document);
        $webhookId = 'doc_' . substr($digest, 0, 32);
        return $this->send('PUT', "/v1/documents/$digest", 'application/octet-stream', $webhookId, $digest, $document);
    }

    /**
     * An invoice: its documents, then the event that names their digests.
     *
     * @param string[] $documents
     */
    public function handOver(string $body, array $documents): int
    {
        foreach ($documents as $document) {
            $outcome = $this->upload($document);
            if ($outcome !== ACCEPTED) {
                return $outcome;
            }
        }
        return $this->push($body, fillGap: fn () => array_map([$this, 'upload'], $documents));
    }

    private function send(
        string $method,
        string $path,
        string $contentType,
        string $webhookId,
        string $payload,
        string $body,
        ?callable $fillGap = null,
    ): int {
        $outcome = GAVE_UP;
        for ($attempt = 1; ; $attempt++) {
            // Of this attempt, unlike the id and the body: five minutes off is refused.
            $headers = ["content-type: $contentType", ...signed_headers($this->secrets, $webhookId, $payload)];
            [$status, $retryAfter, $text, $error] = $this->exchange($method, $path, $headers, $body);
            $answer = as_object($text);
            $code = $answer['code'] ?? null;
            if ($text === null) {
                // It may have arrived all the same. Under the same id it is safe to ask again.
                say("attempt $attempt: $error");
            } elseif ($status >= 200 && $status <= 299 && isset(MEANINGS[$answer['result'] ?? ''])) {
                explain($answer);
                $outcome = ACCEPTED;
                break;
            } else {
                say("attempt $attempt: $status " . ($answer['detail'] ?? 'with no answer of invoice-router'));
                explain_problem($answer);
                if (!may_retry($status, $answer)) {
                    $outcome = REFUSED;
                    break;
                }
            }
            if ($attempt === ATTEMPTS || $retryAfter > LONGEST_DELAY_SECONDS) {
                say('gave up; run this again later');
                break;
            }
            if ($code === 'document_missing' && $fillGap !== null) {
                $fillGap();
            }
            // Not all at once, after a fault that all met at once.
            $delay = FIRST_DELAY_SECONDS * 2 ** ($attempt - 1) * random_int(500_000, 1_000_000);
            usleep($retryAfter * 1_000_000 + $delay);
        }
        if ($text !== null) {
            echo $text, "\n";
        }
        return $outcome;
    }

    /**
     * One attempt: the status, Retry-After in seconds, the answer or null, and why there is none.
     *
     * @param string[] $headers
     * @return array{int, int, ?string, string}
     */
    private function exchange(string $method, string $path, array $headers, string $body): array
    {
        $retryAfter = 0;
        $curl = curl_init();
        curl_setopt_array($curl, [
            CURLOPT_URL => $this->url . $path,
            CURLOPT_CUSTOMREQUEST => $method,
            // A string is sent as it is; an array would become a form.
            CURLOPT_POSTFIELDS => $body,
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT => CONNECT_SECONDS,
            CURLOPT_TIMEOUT => TIME_OUT_SECONDS,
            CURLOPT_HEADERFUNCTION => function ($curl, string $line) use (&$retryAfter): int {
                if (preg_match('/^retry-after:\s*(\d{1,9})\s*$/i', $line, $found) === 1) {
                    $retryAfter = (int) $found[1];
                }
                return strlen($line);
            },
        ]);
        $text = curl_exec($curl);
        return is_string($text)
            ? [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $retryAfter, $text, '']
            : [0, 0, null, curl_error($curl)];
    }
}

/**
 * The secrets, one a line. Two, while the old one is being replaced: a signature by each is sent, and the
 * daemon takes whichever it knows.
 *
 * @return string[]
 */
function read_secrets(string $path): array
{
    $lines = array_map('trim', explode("\n", read_file($path)));
    $secrets = array_values(array_filter($lines, fn ($line) => $line !== '' && $line[0] !== '#'));
    if ($secrets === []) {
        throw new InvalidArgumentException("$path holds no secret");
    }
    foreach ($secrets as $secret) {
        signature($secret, '', 0, '');
    }
    return $secrets;
}

/**
 * @param string[] $secrets
 * @return string[]
 */
function signed_headers(array $secrets, string $webhookId, string $payload): array
{
    // Seconds since 1970 are UTC whatever date.timezone says. A clock that is set by NTP is needed all the same.
    $timestamp = time();
    $signatures = array_map(fn ($secret) => signature($secret, $webhookId, $timestamp, $payload), $secrets);
    return [
        "webhook-id: $webhookId",
        "webhook-timestamp: $timestamp",
        'webhook-signature: ' . implode(' ', $signatures),
    ];
}

/** Standard Webhooks 1.0. The key is what the base64 behind whsec_ stands for, not its text. */
function signature(string $secret, string $webhookId, int $timestamp, string $payload): string
{
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6), true) : false;
    if ($key === false) {
        throw new InvalidArgumentException('a secret is whsec_ and base64');
    }
    return 'v1,' . base64_encode(hash_hmac('sha256', "$webhookId.$timestamp.$payload", $key, true));
}

/** Whether the same request can succeed later. No other 4xx ever does: somebody has to look. */
function may_retry(int $status, array $answer): bool
{
    return $status === 408 || $status === 429 || $status >= 500 || ($answer['retryable'] ?? null) === true;
}

function explain(array $answer): void
{
    say("{$answer['result']}: " . MEANINGS[$answer['result']]);
    if (($answer['state'] ?? null) === 'sending') {
        say("it is being sent at this moment; ask for the invoice's state again");
    }
    foreach ($answer['in_flight'] ?? [] as $number) {
        say("the mail with $number was on its way to the recipient of before and could not be stopped");
    }
    foreach ($answer['warnings'] ?? [] as $warning) {
        say("warning {$warning['code']} at {$warning['field']}: {$warning['detail']}");
    }
}

function explain_problem(array $answer): void
{
    $code = $answer['code'] ?? null;
    if ($code === null) {
        return;
    }
    // The daemon's log has more under the request_id.
    say("  $code, request_id " . ($answer['request_id'] ?? ''));
    foreach ($answer['errors'] ?? [] as $error) {
        say('  ' . ($error['pointer'] ?? $error['parameter'] ?? '') . ': expected ' . ($error['expected'] ?? ''));
    }
    if ($code === 'version_gap') {
        $current = $answer['current_version'] ?? '';
        say("  send the account's events after version $current first, or its account.updated");
    } elseif ($code === 'document_missing') {
        say('  upload first: ' . implode(', ', $answer['missing'] ?? []));
    }
}

/** A proxy in between may answer with anything. */
function as_object(?string $text): array
{
    $answer = json_decode($text ?? '', true);
    return is_array($answer) && !array_is_list($answer) ? $answer : [];
}

function read_file(string $path): string
{
    $content = @file_get_contents($path);
    if ($content === false) {
        throw new InvalidArgumentException("cannot read $path");
    }
    return $content;
}

function say(string $words): void
{
    fwrite(STDERR, "$words\n");
}

/** @param string[] $words */
function main(array $words): int
{
    [$url, $secretFile, $command] = [...array_slice($words, 0, 3), null, null, null];
    $files = array_slice($words, 3);
    $isKnown = in_array($command, ['event', 'document', 'invoice'], true);
    if (!$isKnown || $files === [] || ($command !== 'invoice' && count($files) > 1)) {
        say("client.php URL SECRET_FILE event FILE\nclient.php URL SECRET_FILE document FILE\n"
            . 'client.php URL SECRET_FILE invoice FILE DOCUMENT…');
        return USAGE;
    }
    try {
        $client = new Client($url, read_secrets($secretFile));
        $contents = array_map('read_file', $files);
    } catch (InvalidArgumentException $wrong) {
        say($wrong->getMessage());
        return USAGE;
    }
    if ($command === 'event') {
        return $client->push($contents[0]);
    }
    if ($command === 'document') {
        return $client->upload($contents[0]);
    }
    $documents = array_slice($contents, 1);
    foreach ($documents as $at => $document) {
        if (!str_contains($contents[0], hash('sha256', $document))) {
            say("{$files[0]} does not name the digest of {$files[$at + 1]}: was it rendered again?");
            return USAGE;
        }
    }
    return $client->handOver($contents[0], $documents);
}

// Not where another file requires this one.
if (realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    exit(main(array_slice($argv, 1)));
}
