// What two implementations say of the identity numbers and organisation numbers on standard input, one on a line.
// A line of three flags for each (1: yes): fnrvalidator finds the check digits right; it finds all right;
// norsk-validator finds a right organisation number.

const { idnr } = require("@navikt/fnrvalidator");
const { organisasjonsnummer } = require("norsk-validator");

function flags(value) {
  const found = idnr(value);
  const reasons = found.status === "valid" ? [] : found.reasons;
  const digits = !reasons.includes("checksums don't match") && /^[0-9]{11}$/.test(value);
  return [digits, found.status === "valid", organisasjonsnummer(value)].map(Number).join("");
}

const values = require("node:fs").readFileSync(0, "utf-8").split("\n").slice(0, -1);
process.stdout.write(values.map(flags).join("\n") + "\n");
