-- Who comes back is billed for the time that he was away: nothing raises the cursor to now.

do $$
declare
    place record;
    body text;
begin
    for place in
        select * from (values
            ('billd_internal.return_to_active', 'new.settled_until := greatest(new.settled_until, now);'),
            ('billd_internal.do_resume', 's.settled_until := greatest(s.settled_until, billd.now());'),
            ('billd_internal.ask_again', 's.settled_until := greatest(s.settled_until, billd.now());')
        ) p (routine, piece)
    loop
        body := pg_get_functiondef(place.routine::regproc);
        if cardinality(string_to_array(body, place.piece)) <> 2 then
            raise exception '% does not hold: %', place.routine, place.piece;
        end if;
        execute replace(body, place.piece, '');
    end loop;
end
$$;
