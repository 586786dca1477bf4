-- Takes the auditor away; what it found is lost.
drop table billd.finding, billd.audit_seen, billd.audit_run;
drop index billd.charge_attempt_by_start;
drop view billd.asked_for;
alter table billd.charge_attempt drop column asked_at;
alter table billd.hand_charge drop column asked_at;
