-- Messages that leave while their sender waits for the answer (design 8 "Instant"): the API process that holds such a
-- claim has not yet told anybody what became of the order. The claim has the id of the order's chain.
ALTER TABLE claim ADD COLUMN undecided boolean NOT NULL DEFAULT false;

-- Orders whose attachments' addresses, which are secrets, have not been blanked yet.
CREATE INDEX order_content_secret ON order_content (order_id) WHERE attachments -> 0 ? 'url';
